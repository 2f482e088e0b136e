package main

import (
	"bytes"
	"context"
	"time"

	"github.com/pingcap/kvproto/pkg/errorpb"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/kvproto/pkg/metapb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TiKV's limits.
const (
	maxKeyBytes   = 8 << 10
	maxEntryBytes = 8 << 20
	maxScanPairs  = 10240
)

// A call is one request: what it asks for, and how it fails and is answered.
type call[Answer any] struct {
	name    string
	context *kvrpcpb.Context
	// That must be in the region.
	keys [][]byte
	// Key and value, of a write.
	bytes int
	fail  func(*errorpb.Error) Answer
	do    func(*metapb.Region) (Answer, error)
}

// serve answers a call, or does what a fault wants in its place.
func serve[Answer any](ctx context.Context, s *Store, call call[Answer]) (Answer, error) {
	var none Answer
	fault := s.faults.Meet(call.name, call.keys)
	if fault == nil {
		return do(s, call)
	}
	switch fault.Kind {
	case notLeader:
		return call.fail(&errorpb.Error{Message: "not the leader", NotLeader: &errorpb.NotLeader{
			RegionId: call.context.GetRegionId(),
		}}), nil
	case staleEpoch:
		return call.fail(epochNotMatch(s.regions.list())), nil
	case staleCommand:
		return call.fail(&errorpb.Error{
			Message: "stale command", StaleCommand: &errorpb.StaleCommand{},
		}), nil
	case regionUnknown:
		return call.fail(&errorpb.Error{Message: "no such region",
			RegionNotFound: &errorpb.RegionNotFound{RegionId: call.context.GetRegionId()},
		}), nil
	case serverIsBusy:
		return call.fail(&errorpb.Error{Message: "the server is busy",
			ServerIsBusy: &errorpb.ServerIsBusy{Reason: "a fault"},
		}), nil
	case unavailable:
		return none, status.Error(codes.Unavailable, "a fault")
	case delayed:
		select {
		case <-time.After(fault.duration()):
			return do(s, call)
		case <-ctx.Done():
			return none, ctx.Err()
		}
	case hang:
		<-ctx.Done()
		return none, ctx.Err()
	case lostReply:
		if _, err := do(s, call); err != nil {
			return none, err
		}
		return none, status.Error(codes.Unavailable, "the reply is lost")
	case late:
		time.AfterFunc(fault.duration(), func() { _, _ = do(s, call) })
		<-ctx.Done()
		return none, ctx.Err()
	default:
		return none, status.Errorf(codes.Internal, "no such fault: %s", fault.Kind)
	}
}

func do[Answer any](s *Store, call call[Answer]) (Answer, error) {
	region, refused := s.regions.Check(call.context)
	if refused != nil {
		return call.fail(refused), nil
	}
	for _, key := range call.keys {
		if !Holds(region, key) {
			return call.fail(&errorpb.Error{Message: "the key is not of this region",
				KeyNotInRegion: &errorpb.KeyNotInRegion{
					Key: key, RegionId: region.GetId(),
					StartKey: region.GetStartKey(), EndKey: region.GetEndKey(),
				},
			}), nil
		}
		if len(key) > maxKeyBytes {
			var none Answer
			return none, status.Error(codes.InvalidArgument, "the key is too long")
		}
	}
	if call.bytes > maxEntryBytes {
		return call.fail(&errorpb.Error{Message: "raft entry is too large",
			RaftEntryTooLarge: &errorpb.RaftEntryTooLarge{
				RegionId: region.GetId(), EntrySize: uint64(call.bytes),
			},
		}), nil
	}
	return call.do(region)
}

// RawGet reads one value.
func (s *Store) RawGet(ctx context.Context, request *kvrpcpb.RawGetRequest) (*kvrpcpb.RawGetResponse, error) {
	return serve(ctx, s, call[*kvrpcpb.RawGetResponse]{
		name: "RawGet", context: request.GetContext(), keys: [][]byte{request.GetKey()},
		fail: func(err *errorpb.Error) *kvrpcpb.RawGetResponse {
			return &kvrpcpb.RawGetResponse{RegionError: err}
		},
		do: func(*metapb.Region) (*kvrpcpb.RawGetResponse, error) {
			value := s.engine.Get(request.GetKey())
			return &kvrpcpb.RawGetResponse{Value: value, NotFound: value == nil}, nil
		},
	})
}

// RawPut writes one value.
func (s *Store) RawPut(ctx context.Context, request *kvrpcpb.RawPutRequest) (*kvrpcpb.RawPutResponse, error) {
	return serve(ctx, s, call[*kvrpcpb.RawPutResponse]{
		name: "RawPut", context: request.GetContext(), keys: [][]byte{request.GetKey()},
		bytes: len(request.GetKey()) + len(request.GetValue()),
		fail: func(err *errorpb.Error) *kvrpcpb.RawPutResponse {
			return &kvrpcpb.RawPutResponse{RegionError: err}
		},
		do: func(*metapb.Region) (*kvrpcpb.RawPutResponse, error) {
			change := map[string][]byte{string(request.GetKey()): clone(request.GetValue())}
			return &kvrpcpb.RawPutResponse{}, s.change(change)
		},
	})
}

// RawDelete removes one key.
func (s *Store) RawDelete(ctx context.Context, request *kvrpcpb.RawDeleteRequest) (*kvrpcpb.RawDeleteResponse, error) {
	return serve(ctx, s, call[*kvrpcpb.RawDeleteResponse]{
		name: "RawDelete", context: request.GetContext(), keys: [][]byte{request.GetKey()},
		fail: func(err *errorpb.Error) *kvrpcpb.RawDeleteResponse {
			return &kvrpcpb.RawDeleteResponse{RegionError: err}
		},
		do: func(*metapb.Region) (*kvrpcpb.RawDeleteResponse, error) {
			return &kvrpcpb.RawDeleteResponse{}, s.change(map[string][]byte{string(request.GetKey()): nil})
		},
	})
}

func (s *Store) change(changes map[string][]byte) error {
	return s.engine.Commit(func(func([]byte) []byte) map[string][]byte { return changes })
}

// RawCompareAndSwap writes a value if the key has the expected one.
func (s *Store) RawCompareAndSwap(ctx context.Context, request *kvrpcpb.RawCASRequest) (*kvrpcpb.RawCASResponse, error) {
	key := request.GetKey()
	return serve(ctx, s, call[*kvrpcpb.RawCASResponse]{
		name: "RawCompareAndSwap", context: request.GetContext(), keys: [][]byte{key},
		bytes: len(key) + len(request.GetValue()),
		fail: func(err *errorpb.Error) *kvrpcpb.RawCASResponse {
			return &kvrpcpb.RawCASResponse{RegionError: err}
		},
		do: func(*metapb.Region) (*kvrpcpb.RawCASResponse, error) {
			answer := &kvrpcpb.RawCASResponse{}
			err := s.engine.Commit(func(get func([]byte) []byte) map[string][]byte {
				present := get(key)
				answer.PreviousNotExist, answer.PreviousValue = present == nil, present
				if request.GetPreviousNotExist() {
					answer.Succeed = present == nil
				} else {
					answer.Succeed = present != nil && bytes.Equal(present, request.GetPreviousValue())
				}
				if !answer.Succeed {
					return nil
				}
				return map[string][]byte{string(key): clone(request.GetValue())}
			})
			return answer, err
		},
	})
}

// RawBatchScan reads pairs of several ranges, up to the limit of each.
func (s *Store) RawBatchScan(ctx context.Context, request *kvrpcpb.RawBatchScanRequest) (*kvrpcpb.RawBatchScanResponse, error) {
	var starts [][]byte
	for _, wanted := range request.GetRanges() {
		starts = append(starts, wanted.GetStartKey())
	}
	return serve(ctx, s, call[*kvrpcpb.RawBatchScanResponse]{
		name: "RawBatchScan", context: request.GetContext(), keys: starts,
		fail: func(err *errorpb.Error) *kvrpcpb.RawBatchScanResponse {
			return &kvrpcpb.RawBatchScanResponse{RegionError: err}
		},
		do: func(region *metapb.Region) (*kvrpcpb.RawBatchScanResponse, error) {
			if request.GetReverse() || request.GetEachLimit() > maxScanPairs {
				return nil, status.Error(codes.InvalidArgument, "forwards only, and not so many")
			}
			var pairs []*kvrpcpb.KvPair
			for _, wanted := range request.GetRanges() {
				found := 0
				end := within(region, wanted.GetEndKey())
				s.engine.Scan(wanted.GetStartKey(), end, func(key, value []byte) bool {
					if found == int(request.GetEachLimit()) {
						return false
					}
					found++
					if request.GetKeyOnly() {
						value = nil
					}
					pairs = append(pairs, &kvrpcpb.KvPair{Key: key, Value: value})
					return true
				})
			}
			return &kvrpcpb.RawBatchScanResponse{Kvs: pairs}, nil
		},
	})
}

// RawDeleteRange removes the keys of a range.
func (s *Store) RawDeleteRange(ctx context.Context, request *kvrpcpb.RawDeleteRangeRequest) (*kvrpcpb.RawDeleteRangeResponse, error) {
	return serve(ctx, s, call[*kvrpcpb.RawDeleteRangeResponse]{
		name: "RawDeleteRange", context: request.GetContext(), keys: [][]byte{request.GetStartKey()},
		fail: func(err *errorpb.Error) *kvrpcpb.RawDeleteRangeResponse {
			return &kvrpcpb.RawDeleteRangeResponse{RegionError: err}
		},
		do: func(region *metapb.Region) (*kvrpcpb.RawDeleteRangeResponse, error) {
			changes := map[string][]byte{}
			end := within(region, request.GetEndKey())
			s.engine.Scan(request.GetStartKey(), end, func(key, _ []byte) bool {
				changes[string(key)] = nil
				return true
			})
			return &kvrpcpb.RawDeleteRangeResponse{}, s.change(changes)
		},
	})
}

// within gives the lower one of a range's end and the region's; empty is the highest.
func within(region *metapb.Region, end []byte) []byte {
	last := region.GetEndKey()
	if len(end) == 0 || len(last) > 0 && bytes.Compare(last, end) < 0 {
		return last
	}
	return end
}
