// Command kit starts one half of a small TiKV cluster for tests: a real PD, or a raw store that
// speaks TiKV's gRPC and fails on demand. README.md says which part is real.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "kit:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) == 0 {
		return fmt.Errorf("usage: kit pd | store [flags]; -h after either lists its flags")
	}
	switch arguments[0] {
	case "pd":
		// PD reads its own flags.
		return runPD(arguments[1:])
	case "store":
		options, err := storeOptions(arguments[1:])
		if err != nil {
			return err
		}
		return runStore(options)
	default:
		return fmt.Errorf("%q is neither pd nor store", arguments[0])
	}
}

// Options of the store.
type Options struct {
	// PD's client address, host:port.
	PD string
	// Where it serves TiKV's gRPC, host:port. The same after a restart: PD and clients know it.
	Listen string
	// Where it serves the control port, host:port.
	Control string
	// Folder of its data.
	Data string
	// Whether a commit waits for the disk. Off, data survives the end of the process only.
	Fsync bool
	// PEM files; all three or none.
	CA, Certificate, Key string
}

func storeOptions(arguments []string) (Options, error) {
	var options Options
	flags := flag.NewFlagSet("store", flag.ContinueOnError)
	flags.StringVar(&options.PD, "pd", "127.0.0.1:2379", "PD's client address")
	flags.StringVar(&options.Listen, "listen", "127.0.0.1:20160", "address of TiKV's gRPC")
	flags.StringVar(&options.Control, "control", "127.0.0.1:20180", "address of the control port")
	flags.StringVar(&options.Data, "data", "", "folder of the data")
	flags.BoolVar(&options.Fsync, "fsync", false, "wait for the disk at every commit")
	flags.StringVar(&options.CA, "cacert", "", "certificates that clients and PD are checked against")
	flags.StringVar(&options.Certificate, "cert", "", "certificate")
	flags.StringVar(&options.Key, "key", "", "private key")
	if err := flags.Parse(arguments); err != nil {
		return options, err
	}
	if options.Data == "" {
		return options, fmt.Errorf("-data is missing")
	}
	files := 0
	for _, file := range []string{options.CA, options.Certificate, options.Key} {
		if file != "" {
			files++
		}
	}
	if files != 0 && files != 3 {
		return options, fmt.Errorf("-cacert, -cert and -key go together")
	}
	return options, nil
}
