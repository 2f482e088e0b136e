package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/pingcap/log"
	"github.com/tikv/pd/server"
	"github.com/tikv/pd/server/config"
	// They register themselves; PD refuses to start without its default schedulers.
	_ "github.com/tikv/pd/server/schedulers"
)

// runPD serves PD itself until the process is told to end. Its arguments are those of pd-server.
func runPD(arguments []string) error {
	settings := config.NewConfig()
	if err := settings.Parse(arguments); err != nil {
		return fmt.Errorf("PD's flags: %w", err)
	}
	// There is one store, so a region has one replica.
	settings.Replication.MaxReplicas = 1
	if err := settings.SetupLogger(); err != nil {
		return fmt.Errorf("PD's log: %w", err)
	}
	log.ReplaceGlobals(settings.GetZapLogger(), settings.GetZapLogProperties())

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	pd, err := server.CreateServer(ctx, settings)
	if err != nil {
		return fmt.Errorf("PD: %w", err)
	}
	if err := pd.Run(); err != nil {
		return fmt.Errorf("PD: %w", err)
	}
	<-ctx.Done()
	pd.Close()
	return nil
}
