package main

import (
	"encoding/json"
	"io"
	"net/http"
)

// control serves what the tests do to the store.
func (s *Store) control() http.Handler {
	mux := http.NewServeMux()
	// GET lists the faults and counts of requests, POST adds a fault, DELETE ends all of them.
	mux.HandleFunc("/faults", func(w http.ResponseWriter, request *http.Request) {
		switch request.Method {
		case http.MethodGet:
			faults, calls := s.faults.List()
			answer(w, map[string]any{"faults": faults, "calls": calls})
		case http.MethodPost:
			var fault Fault
			if !read(w, request, &fault) {
				return
			}
			if err := fault.Check(); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			fault.Met = 0
			s.faults.Add(&fault)
			answer(w, map[string]any{})
		case http.MethodDelete:
			answer(w, map[string]any{"faults": s.faults.Clear()})
		default:
			http.Error(w, "GET, POST or DELETE", http.StatusMethodNotAllowed)
		}
	})
	// POST of a key parts its region there.
	mux.HandleFunc("/split", func(w http.ResponseWriter, request *http.Request) {
		key, err := io.ReadAll(request.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if err := s.regions.Split(request.Context(), key); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		answer(w, map[string]any{"regions": len(s.regions.list())})
	})
	// POST {"volatile": true} stops writing to the disk, until false.
	mux.HandleFunc("/volatile", func(w http.ResponseWriter, request *http.Request) {
		var body struct{ Volatile bool }
		if !read(w, request, &body) {
			return
		}
		if err := s.engine.SetVolatile(body.Volatile); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		answer(w, map[string]any{})
	})
	return mux
}

func read(w http.ResponseWriter, request *http.Request, body any) bool {
	if request.Method != http.MethodPost {
		http.Error(w, "POST", http.StatusMethodNotAllowed)
		return false
	}
	decoder := json.NewDecoder(request.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	// The test is gone if this fails.
	_ = json.NewEncoder(w).Encode(body)
}
