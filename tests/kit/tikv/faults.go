package main

import (
	"bytes"
	"fmt"
	"math/rand"
	"sync"
	"time"
)

// A Fault is one way to go wrong, for some of the calls.
type Fault struct {
	Kind Kind `json:"kind"`
	// gRPC methods, such as RawGet; none: all.
	Calls []string `json:"calls,omitempty"`
	// Only requests with a key that starts with this text.
	Prefix string `json:"prefix,omitempty"`
	// So many requests; 0: all, until the faults are cleared.
	Count int `json:"count,omitempty"`
	// Each request with this chance, of 100; 0: always.
	Percent int `json:"percent,omitempty"`
	// How long, for those kinds that take a while.
	Milliseconds int `json:"milliseconds,omitempty"`

	// How many requests met it.
	Met int `json:"met"`
}

// Kind of a fault.
type Kind string

const (
	// Answers of TiKV that a client is to try again after.
	notLeader     Kind = "not_leader"
	staleEpoch    Kind = "epoch_not_match"
	staleCommand  Kind = "stale_command"
	regionUnknown Kind = "region_not_found"
	serverIsBusy  Kind = "server_is_busy"
	// The answer of a server that is not there.
	unavailable Kind = "unavailable"
	// Answers so much later.
	delayed Kind = "delay"
	// Never answers, and does nothing.
	hang Kind = "hang"
	// Does what was asked, and the answer is lost.
	lostReply Kind = "lost_reply"
	// Does not answer, and does what was asked so much later, whether or not the client is
	// still there: a request that was under way for long.
	late Kind = "late"
)

var kinds = []Kind{
	notLeader, staleEpoch, staleCommand, regionUnknown, serverIsBusy, unavailable, delayed, hang,
	lostReply, late,
}

// Check says what is wrong with a fault that was asked for.
func (f *Fault) Check() error {
	known := false
	for _, kind := range kinds {
		known = known || kind == f.Kind
	}
	if !known {
		return fmt.Errorf("%q is none of the kinds %v", f.Kind, kinds)
	}
	if (f.Kind == delayed || f.Kind == late) && f.Milliseconds <= 0 {
		return fmt.Errorf("%s needs milliseconds", f.Kind)
	}
	if f.Count < 0 || f.Percent < 0 || f.Percent > 100 {
		return fmt.Errorf("count is not below 0, and percent of 0 to 100")
	}
	return nil
}

func (f *Fault) duration() time.Duration { return time.Duration(f.Milliseconds) * time.Millisecond }

// Faults are those in force.
type Faults struct {
	mutex  sync.Mutex
	chance *rand.Rand
	all    []*Fault
	// Requests by method, whether or not they met a fault.
	calls map[string]int
}

// NewFaults has none yet. The seed decides which requests a chance hits.
func NewFaults(seed int64) *Faults {
	return &Faults{chance: rand.New(rand.NewSource(seed)), calls: map[string]int{}}
}

// Add puts a fault into force, after those that are.
func (f *Faults) Add(fault *Fault) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.all = append(f.all, fault)
}

// Clear ends all faults and gives them back.
func (f *Faults) Clear() []Fault {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	ended := f.copies()
	f.all = nil
	return ended
}

// List gives the faults, and the requests by method.
func (f *Faults) List() ([]Fault, map[string]int) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	calls := map[string]int{}
	for call, count := range f.calls {
		calls[call] = count
	}
	return f.copies(), calls
}

func (f *Faults) copies() []Fault {
	copies := []Fault{}
	for _, fault := range f.all {
		copies = append(copies, *fault)
	}
	return copies
}

// Meet gives the first fault that a request meets, or none.
func (f *Faults) Meet(call string, keys [][]byte) *Fault {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.calls[call]++
	for _, fault := range f.all {
		if fault.Count > 0 && fault.Met >= fault.Count ||
			!isAmong(call, fault.Calls) || !anyStartsWith(keys, []byte(fault.Prefix)) ||
			fault.Percent > 0 && f.chance.Intn(100) >= fault.Percent {
			continue
		}
		fault.Met++
		met := *fault
		return &met
	}
	return nil
}

func isAmong(call string, calls []string) bool {
	for _, other := range calls {
		if other == call {
			return true
		}
	}
	return len(calls) == 0
}

func anyStartsWith(keys [][]byte, prefix []byte) bool {
	for _, key := range keys {
		if bytes.HasPrefix(key, prefix) {
			return true
		}
	}
	return len(prefix) == 0
}
