package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"sync"
	"time"

	"github.com/pingcap/kvproto/pkg/errorpb"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/pingcap/kvproto/pkg/pdpb"
	"google.golang.org/grpc"
)

// How often PD is told about the store and its regions. Real stores do so every ten and sixty
// seconds; a PD that was restarted knows no leader until it is told.
const heartbeat = 500 * time.Millisecond

// Regions are the ranges of keys that this store leads, as it and PD know them.
type Regions struct {
	engine *Engine
	pd     pdpb.PDClient

	mutex   sync.RWMutex
	cluster uint64
	store   *metapb.Store
	// In the order of their start keys, without gaps.
	all []*metapb.Region
}

// What survives a restart of the store.
type kept struct {
	Cluster uint64
	Store   uint64
	Regions []*metapb.Region
}

// JoinPD makes the store known to PD: as the first one of a new cluster, or as the one that it
// was before.
func JoinPD(ctx context.Context, engine *Engine, link *grpc.ClientConn, address string) (*Regions, error) {
	regions := &Regions{engine: engine, pd: pdpb.NewPDClient(link)}
	for {
		err := regions.join(ctx, address)
		if err == nil {
			return regions, nil
		}
		// PD may not have a leader yet.
		fmt.Fprintln(os.Stderr, "kit: waiting for PD:", err)
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("cannot join PD: %w", err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (r *Regions) header() *pdpb.RequestHeader { return &pdpb.RequestHeader{ClusterId: r.cluster} }

func (r *Regions) join(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	members, err := r.pd.GetMembers(ctx, &pdpb.GetMembersRequest{})
	if err != nil {
		return err
	}
	if members.GetLeader() == nil {
		return fmt.Errorf("PD has no leader")
	}
	r.cluster = members.GetHeader().GetClusterId()
	before := r.before()
	if before != nil && before.Cluster != r.cluster {
		return fmt.Errorf("this data is of cluster %d, PD is of cluster %d", before.Cluster, r.cluster)
	}
	bootstrapped, err := r.pd.IsBootstrapped(ctx, &pdpb.IsBootstrappedRequest{Header: r.header()})
	if err != nil {
		return err
	}
	if reason := bootstrapped.GetHeader().GetError(); reason != nil {
		return fmt.Errorf("PD: %s", reason.GetMessage())
	}
	if before == nil {
		if bootstrapped.GetBootstrapped() {
			return fmt.Errorf("PD's cluster has a store already, and this one is empty")
		}
		if err := r.found(ctx, address); err != nil {
			return err
		}
	} else {
		r.store = &metapb.Store{Id: before.Store, Address: address, Version: "5.4.0"}
		r.all = before.Regions
	}
	// It may have been ended, or PD away, before it was.
	if !bootstrapped.GetBootstrapped() {
		if err := r.bootstrap(ctx); err != nil {
			return err
		}
	}
	put, err := r.pd.PutStore(ctx, &pdpb.PutStoreRequest{Header: r.header(), Store: r.store})
	if err != nil {
		return err
	}
	if reason := put.GetHeader().GetError(); reason != nil {
		return fmt.Errorf("PD: %s", reason.GetMessage())
	}
	return nil
}

// found makes what a new cluster begins with: one store with one region.
func (r *Regions) found(ctx context.Context, address string) error {
	var ids [3]uint64
	for index := range ids {
		answer, err := r.pd.AllocID(ctx, &pdpb.AllocIDRequest{Header: r.header()})
		if err != nil {
			return err
		}
		if reason := answer.GetHeader().GetError(); reason != nil {
			return fmt.Errorf("PD: %s", reason.GetMessage())
		}
		ids[index] = answer.GetId()
	}
	r.store = &metapb.Store{Id: ids[0], Address: address, Version: "5.4.0"}
	r.all = []*metapb.Region{{
		Id:          ids[1],
		RegionEpoch: &metapb.RegionEpoch{ConfVer: 1, Version: 1},
		Peers:       []*metapb.Peer{{Id: ids[2], StoreId: ids[0]}},
	}}
	// Kept first: a store that PD knows must know itself.
	return r.keep()
}

func (r *Regions) bootstrap(ctx context.Context) error {
	answer, err := r.pd.Bootstrap(ctx, &pdpb.BootstrapRequest{
		Header: r.header(), Store: r.store, Region: r.all[0],
	})
	if err != nil {
		return err
	}
	if reason := answer.GetHeader().GetError(); reason != nil {
		return fmt.Errorf("PD: %s", reason.GetMessage())
	}
	return nil
}

func (r *Regions) before() *kept {
	text := r.engine.Meta("kept")
	if text == nil {
		return nil
	}
	var before kept
	if err := json.Unmarshal(text, &before); err != nil {
		return nil
	}
	return &before
}

func (r *Regions) keep() error {
	text, err := json.Marshal(kept{r.cluster, r.store.GetId(), r.all})
	if err != nil {
		return err
	}
	return r.engine.SetMeta("kept", text)
}

// Heartbeat tells PD of the store and its regions until the context ends.
func (r *Regions) Heartbeat(ctx context.Context) {
	for ctx.Err() == nil {
		if err := r.beat(ctx); err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "kit: PD does not hear:", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(heartbeat):
		}
	}
}

// beat goes on until PD ends the stream.
func (r *Regions) beat(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := r.pd.RegionHeartbeat(ctx)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		for {
			// What PD orders (moves, splits) is not for a cluster of one store.
			if _, err := stream.Recv(); err != nil {
				ended <- err
				return
			}
		}
	}()
	for {
		regions := r.list()
		statistics := &pdpb.StoreStats{
			StoreId: r.store.GetId(), Capacity: 1 << 40, Available: 1 << 39,
			RegionCount: uint32(len(regions)), StartTime: uint32(started.Unix()),
		}
		wait, stop := context.WithTimeout(ctx, 2*time.Second)
		_, err := r.pd.StoreHeartbeat(wait, &pdpb.StoreHeartbeatRequest{Header: r.header(), Stats: statistics})
		stop()
		if err != nil {
			return err
		}
		for _, region := range regions {
			message := &pdpb.RegionHeartbeatRequest{
				Header: r.header(), Region: region, Leader: region.GetPeers()[0], Term: 5,
				ApproximateSize: 1, ApproximateKeys: 1,
			}
			if err := stream.Send(message); err != nil {
				return err
			}
		}
		select {
		case err := <-ended:
			return err
		case <-time.After(heartbeat):
		}
	}
}

var started = time.Now()

func (r *Regions) list() []*metapb.Region {
	r.mutex.RLock()
	defer r.mutex.RUnlock()
	return append([]*metapb.Region{}, r.all...)
}

// Split parts the region of the key at the key. What was before the key keeps the region's id.
func (r *Regions) Split(ctx context.Context, key []byte) error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	index := r.index(key)
	old := r.all[index]
	if bytes.Equal(old.GetStartKey(), key) {
		return nil
	}
	answer, err := r.pd.AskBatchSplit(ctx, &pdpb.AskBatchSplitRequest{
		Header: r.header(), Region: old, SplitCount: 1,
	})
	if err != nil {
		return err
	}
	if reason := answer.GetHeader().GetError(); reason != nil {
		return fmt.Errorf("PD: %s", reason.GetMessage())
	}
	if len(answer.GetIds()) != 1 || len(answer.GetIds()[0].GetNewPeerIds()) != 1 {
		return fmt.Errorf("PD gave no ids for a new region")
	}
	ids := answer.GetIds()[0]
	epoch := &metapb.RegionEpoch{
		ConfVer: old.GetRegionEpoch().GetConfVer(),
		Version: old.GetRegionEpoch().GetVersion() + 1,
	}
	left := &metapb.Region{
		Id: old.GetId(), StartKey: old.GetStartKey(), EndKey: key, RegionEpoch: epoch,
		Peers: old.GetPeers(),
	}
	right := &metapb.Region{
		Id: ids.GetNewRegionId(), StartKey: key, EndKey: old.GetEndKey(), RegionEpoch: epoch,
		Peers: []*metapb.Peer{{Id: ids.GetNewPeerIds()[0], StoreId: r.store.GetId()}},
	}
	after := append([]*metapb.Region{}, r.all[:index]...)
	after = append(after, left, right)
	r.all = append(after, r.all[index+1:]...)
	return r.keep()
}

// index gives the place of the region that holds the key. The caller has the lock.
func (r *Regions) index(key []byte) int {
	return sort.Search(len(r.all), func(index int) bool {
		return bytes.Compare(r.all[index].GetStartKey(), key) > 0
	}) - 1
}

// Check gives the region that a request is for, or what TiKV says when the request cannot be
// answered here.
func (r *Regions) Check(context *kvrpcpb.Context) (*metapb.Region, *errorpb.Error) {
	r.mutex.RLock()
	defer r.mutex.RUnlock()
	if store := context.GetPeer().GetStoreId(); store != r.store.GetId() {
		return nil, &errorpb.Error{Message: "another store", StoreNotMatch: &errorpb.StoreNotMatch{
			RequestStoreId: store, ActualStoreId: r.store.GetId(),
		}}
	}
	for index, region := range r.all {
		if region.GetId() != context.GetRegionId() {
			continue
		}
		asked, has := context.GetRegionEpoch(), region.GetRegionEpoch()
		if asked.GetVersion() == has.GetVersion() && asked.GetConfVer() == has.GetConfVer() {
			return region, nil
		}
		current := []*metapb.Region{region}
		if index+1 < len(r.all) {
			current = append(current, r.all[index+1])
		}
		return nil, epochNotMatch(current)
	}
	return nil, &errorpb.Error{Message: "no such region", RegionNotFound: &errorpb.RegionNotFound{
		RegionId: context.GetRegionId(),
	}}
}

func epochNotMatch(current []*metapb.Region) *errorpb.Error {
	return &errorpb.Error{Message: "the region has changed", EpochNotMatch: &errorpb.EpochNotMatch{
		CurrentRegions: current,
	}}
}

// Holds tells whether the key is of the region.
func Holds(region *metapb.Region, key []byte) bool {
	return bytes.Compare(key, region.GetStartKey()) >= 0 &&
		(len(region.GetEndKey()) == 0 || bytes.Compare(key, region.GetEndKey()) < 0)
}

func (r *Regions) leaderIsKnown(ctx context.Context, key []byte) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	answer, err := r.pd.GetRegion(ctx, &pdpb.GetRegionRequest{Header: r.header(), RegionKey: key})
	return err == nil && answer.GetLeader().GetId() != 0
}
