package main

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/google/btree"
	"go.etcd.io/bbolt"
)

var (
	dataBucket = []byte("data")
	metaBucket = []byte("meta")
)

// Engine is an ordered map that is kept in memory and, before a commit is seen by anyone, in a
// file. One goroutine commits, several requests at a time.
type Engine struct {
	file    *bbolt.DB
	commits chan *commit

	mutex sync.RWMutex
	// Holds *pair in byte order of the keys: what is committed.
	tree *btree.BTree

	// Only the committing goroutine looks at these two.
	// While true, commits are acknowledged and seen, and not written: a kill loses them.
	volatile bool
	// Acknowledged and not written, by key; nil stands for a deletion.
	unwritten map[string][]byte
}

type pair struct{ key, value []byte }

// Less is the order of the keys.
func (p *pair) Less(other btree.Item) bool {
	return bytes.Compare(p.key, other.(*pair).key) < 0
}

// A write of one request. It reads through `get`, which sees the writes before it, and gives
// back what it changes; nil stands for a deletion.
type commit struct {
	decide func(get func(key []byte) []byte) map[string][]byte
	// In place of decide: something that no commit may be beside.
	alone func() error
	done  chan error
}

// OpenEngine opens the file, or makes it.
func OpenEngine(path string, fsync bool) (*Engine, error) {
	file, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: !fsync, NoFreelistSync: true})
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", path, err)
	}
	engine := &Engine{
		file:      file,
		commits:   make(chan *commit, 1024),
		tree:      btree.New(32),
		unwritten: map[string][]byte{},
	}
	err = file.Update(func(tx *bbolt.Tx) error {
		if _, err := tx.CreateBucketIfNotExists(metaBucket); err != nil {
			return err
		}
		data, err := tx.CreateBucketIfNotExists(dataBucket)
		if err != nil {
			return err
		}
		return data.ForEach(func(key, value []byte) error {
			engine.tree.ReplaceOrInsert(&pair{clone(key[1:]), clone(value[1:])})
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	go engine.commitForever()
	return engine, nil
}

func clone(bytes []byte) []byte { return append([]byte{}, bytes...) }

// bbolt refuses empty keys, and an empty value is a value: both are kept behind one byte.
func filed(bytes []byte) []byte { return append([]byte{0}, bytes...) }

// Get gives the committed value, nil if there is none.
func (e *Engine) Get(key []byte) []byte {
	e.mutex.RLock()
	defer e.mutex.RUnlock()
	return e.get(key)
}

func (e *Engine) get(key []byte) []byte {
	if found := e.tree.Get(&pair{key: key}); found != nil {
		return found.(*pair).value
	}
	return nil
}

// Scan visits committed pairs from start to end (empty: no end) until visit says false.
func (e *Engine) Scan(start, end []byte, visit func(key, value []byte) bool) {
	e.mutex.RLock()
	defer e.mutex.RUnlock()
	e.tree.AscendGreaterOrEqual(&pair{key: start}, func(item btree.Item) bool {
		found := item.(*pair)
		if len(end) > 0 && bytes.Compare(found.key, end) >= 0 {
			return false
		}
		return visit(found.key, found.value)
	})
}

// Commit decides on and makes one request's changes, atomically, and returns when they are kept.
func (e *Engine) Commit(decide func(get func(key []byte) []byte) map[string][]byte) error {
	request := &commit{decide: decide, done: make(chan error, 1)}
	e.commits <- request
	return <-request.done
}

// commitForever makes what has gathered meanwhile durable together, so that the cost of a commit
// is shared.
func (e *Engine) commitForever() {
	for request := range e.commits {
		var requests []*commit
		for request != nil && request.alone == nil {
			requests = append(requests, request)
			request = nil
			if len(requests) < 256 {
				select {
				case request = <-e.commits:
				default:
				}
			}
		}
		err := e.commitAll(requests)
		for _, decided := range requests {
			decided.done <- err
		}
		if request != nil {
			request.done <- request.alone()
		}
	}
}

func (e *Engine) commitAll(requests []*commit) error {
	changes := map[string][]byte{}
	get := func(key []byte) []byte {
		if value, changed := changes[string(key)]; changed {
			return value
		}
		return e.Get(key)
	}
	for _, request := range requests {
		for key, value := range request.decide(get) {
			changes[key] = value
		}
	}
	if !e.volatile {
		if err := e.write(changes); err != nil {
			return err
		}
	}
	e.mutex.Lock()
	defer e.mutex.Unlock()
	for key, value := range changes {
		if e.volatile {
			e.unwritten[key] = value
		}
		if value == nil {
			e.tree.Delete(&pair{key: []byte(key)})
		} else {
			e.tree.ReplaceOrInsert(&pair{[]byte(key), value})
		}
	}
	return nil
}

func (e *Engine) write(changes map[string][]byte) error {
	if len(changes) == 0 {
		return nil
	}
	return e.file.Update(func(tx *bbolt.Tx) error {
		data := tx.Bucket(dataBucket)
		for key, value := range changes {
			var err error
			if value == nil {
				err = data.Delete(filed([]byte(key)))
			} else {
				err = data.Put(filed([]byte(key)), filed(value))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// SetVolatile stops writing to the file, or writes what was not written and goes on.
func (e *Engine) SetVolatile(volatile bool) error {
	request := &commit{done: make(chan error, 1), alone: func() error {
		if err := e.write(e.unwritten); err != nil {
			return err
		}
		e.unwritten, e.volatile = map[string][]byte{}, volatile
		return nil
	}}
	e.commits <- request
	return <-request.done
}

// Meta reads what the store keeps of itself, nil if it kept nothing.
func (e *Engine) Meta(name string) []byte {
	var value []byte
	_ = e.file.View(func(tx *bbolt.Tx) error {
		if found := tx.Bucket(metaBucket).Get([]byte(name)); found != nil {
			value = clone(found)
		}
		return nil
	})
	return value
}

// SetMeta keeps it.
func (e *Engine) SetMeta(name string, value []byte) error {
	return e.file.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(metaBucket).Put([]byte(name), value)
	})
}
