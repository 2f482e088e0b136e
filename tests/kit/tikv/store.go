package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pingcap/kvproto/pkg/tikvpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// Store answers for TiKV.
type Store struct {
	// Answers what it does not know by saying so.
	tikvpb.UnimplementedTikvServer

	engine  *Engine
	regions *Regions
	faults  *Faults
}

// runStore serves until the process is told to end. It says "ready" once PD knows the store.
func runStore(options Options) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	client, server, err := security(options)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(options.Data, 0o700); err != nil {
		return err
	}
	engine, err := OpenEngine(filepath.Join(options.Data, "store.db"), options.Fsync)
	if err != nil {
		return err
	}
	// First: whoever hears of the store finds it.
	grpcListener, err := net.Listen("tcp", options.Listen)
	if err != nil {
		return err
	}
	controlListener, err := net.Listen("tcp", options.Control)
	if err != nil {
		return err
	}
	link, err := grpc.Dial(options.PD, client)
	if err != nil {
		return fmt.Errorf("cannot reach PD: %w", err)
	}
	regions, err := JoinPD(ctx, engine, link, options.Listen)
	if err != nil {
		return err
	}
	store := &Store{engine: engine, regions: regions, faults: NewFaults(1)}
	go regions.Heartbeat(ctx)

	// TiKV's default of what a message may have.
	serving := grpc.NewServer(append(server, grpc.MaxRecvMsgSize(10<<20), grpc.MaxSendMsgSize(10<<20))...)
	tikvpb.RegisterTikvServer(serving, store)
	failed := make(chan error, 2)
	go func() { failed <- serving.Serve(grpcListener) }()
	go func() { failed <- http.Serve(controlListener, store.control()) }()
	if err := regions.awaitLeaders(ctx); err != nil {
		return err
	}
	fmt.Println("ready")
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		serving.Stop()
		return nil
	}
}

// security gives what the connection to PD and those of clients are made with.
func security(options Options) (grpc.DialOption, []grpc.ServerOption, error) {
	if options.CA == "" {
		return grpc.WithInsecure(), nil, nil
	}
	text, err := os.ReadFile(options.CA)
	if err != nil {
		return nil, nil, err
	}
	trusted := x509.NewCertPool()
	if !trusted.AppendCertsFromPEM(text) {
		return nil, nil, fmt.Errorf("%s holds no certificate", options.CA)
	}
	own, err := tls.LoadX509KeyPair(options.Certificate, options.Key)
	if err != nil {
		return nil, nil, err
	}
	client := credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{own}, RootCAs: trusted})
	server := credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{own}, ClientCAs: trusted,
		ClientAuth: tls.RequireAndVerifyClientCert,
		// The gRPC of this age does not ask for it by itself.
		NextProtos: []string{"h2"},
	})
	return grpc.WithTransportCredentials(client), []grpc.ServerOption{grpc.Creds(server)}, nil
}

// awaitLeaders returns once PD can tell clients who leads the regions.
func (r *Regions) awaitLeaders(ctx context.Context) error {
	for {
		known := 0
		regions := r.list()
		for _, region := range regions {
			if r.leaderIsKnown(ctx, region.GetStartKey()) {
				known++
			}
		}
		if known == len(regions) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}
