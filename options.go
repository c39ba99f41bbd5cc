package hangar

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/aabb9013/hangar/httpapi"
	"github.com/aabb9013/hangar/internal/config"
	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

// Version is the release of this source tree.
const Version = "0.1.0"

// The types of package supervisor that an embedder meets.
type (
	// ServerSpec is the wanted configuration of one server.
	ServerSpec = supervisor.ServerSpec
	// View is what can be seen of a server at one moment.
	View = supervisor.View
	// Patch is a change of a server's spec.
	Patch = supervisor.Patch
	// Dossier tells why an instance ended without anybody wanting it.
	Dossier = supervisor.Dossier
	// GroupSpec is the wanted configuration of one group, GroupMember one of
	// its members, GroupPatch a change, GroupView what can be seen of it.
	GroupSpec   = supervisor.GroupSpec
	GroupMember = supervisor.GroupMember
	GroupPatch  = supervisor.GroupPatch
	GroupView   = supervisor.GroupView
	// Backoff is the curve of the delays between a server's automatic restarts.
	Backoff = supervisor.Backoff
	// Handler serves the HTTP edge with fasthttp.
	Handler = httpapi.Handler
)

// Errors to be tested with errors.Is.
var (
	ErrServerNotFound = supervisor.ErrServerNotFound
	ErrServerExists   = supervisor.ErrServerExists
	ErrInvalidSpec    = supervisor.ErrInvalidSpec
	ErrToolNotFound   = supervisor.ErrToolNotFound
	ErrStartFailed    = supervisor.ErrStartFailed
	ErrCannotStart    = supervisor.ErrCannotStart
	ErrOverloaded     = supervisor.ErrOverloaded
	ErrCallTimeout    = supervisor.ErrCallTimeout
	ErrReadOnly       = supervisor.ErrReadOnly
	ErrNotBuilt       = supervisor.ErrNotBuilt
	ErrClosing        = supervisor.ErrClosing
	ErrGroupNotFound  = supervisor.ErrGroupNotFound
	ErrGroupExists    = supervisor.ErrGroupExists
	// ErrGroupUnavailable: no member of a group could take the call.
	ErrGroupUnavailable = supervisor.ErrGroupUnavailable
	ErrInUse            = supervisor.ErrInUse
	// These say why a data directory cannot be used. ErrLocked names the
	// process that has it.
	ErrLocked     = persistence.ErrLocked
	ErrUnwritable = persistence.ErrUnwritable
	ErrForeign    = persistence.ErrForeign
	ErrNoSpace    = persistence.ErrNoSpace
	ErrCorrupt    = persistence.ErrCorrupt
	// ErrConfig: the configuration file cannot be used; the text has a line
	// for each mistake. With ErrNotBuilt, the file is valid and asks for what
	// this version does not have.
	ErrConfig = httpapi.ErrConfiguration
)

// Durability says what an acknowledged change survives.
type Durability string

// Process survives the death of the process, also by kill -9; Power a loss of
// power too, at the price of a sync per commit.
const (
	DurabilityProcess Durability = "process"
	DurabilityPower   Durability = "power"
)

// Options of a Runtime. The zero value is a runtime without servers that
// keeps its state in memory.
type Options struct {
	// DataDir holds the event log and the state; empty keeps both in memory.
	DataDir string
	// ConfigFile is a configuration file in the format of MCP Hangar. Unless
	// its section config_reload says otherwise, it is watched and a change is
	// applied, as Runtime.Reload does.
	ConfigFile string
	Durability Durability // empty = the configuration's, else process
	// MinFreeBytes is the free space below which state becomes read-only;
	// 0 = chosen by the size of the volume.
	MinFreeBytes uint64
	// MaxLogBytes bounds the event log, the oldest events go; the directory takes
	// some three times of it. 0 = the configuration's, else 256 MiB.
	MaxLogBytes uint64
	// MaxLogAge is after what time events go; 0 = the configuration's, else never.
	MaxLogAge time.Duration
	// CallRetention and EventRetention bound the finished calls in the event log,
	// and all other events: calls never push out other events. A zero field = the
	// configuration's, else its share of MaxLogBytes, or MaxLogAge.
	CallRetention, EventRetention Retention
	// MaxParallelStarts bounds the starts that run at once; 0 = the
	// configuration's, else twice the number of cores, at least 4.
	MaxParallelStarts int
	// MaxCalls bounds the calls in flight on the node, waiting ones included;
	// one more is refused with ErrOverloaded. 0 = the configuration's, else
	// 20,000; negative = no bound.
	MaxCalls int
	// MemoryBudget bounds the memory of all servers together: a size such as
	// 4g, or a share of the node's memory such as 80%. Above it idle servers
	// are stopped. Empty = the configuration's, else no bound.
	MemoryBudget string
	// AllowedHosts and AllowedOrigins are accepted beside loopback names in
	// the Host and Origin headers.
	AllowedHosts, AllowedOrigins []string
	// CallTimeout bounds a tool call through the MCP endpoint; 0 = 300 s.
	CallTimeout time.Duration
	// Logger receives the runtime's log; nil discards it. Its handler must not
	// wait for whoever reads the log: actors write to it.
	Logger *slog.Logger
	// OpenLog makes the logger in place of Logger once the configuration file
	// was read, for a program that heeds the file's logging section. New calls
	// it once, before anything is opened or logged.
	OpenLog func(LogSettings) (*slog.Logger, error)
	// SetLogLevel is called when a reload finds another logging.level, DEBUG to
	// CRITICAL. Without it the change waits for a restart.
	SetLogLevel func(level string)
	// Warnings receives what the configuration file says and the runtime does
	// not heed, one per line; nil sends it to the log.
	Warnings io.Writer
}

// Retention bounds what stays of the calls, or of all other events, in the event
// log. MaxBytes of both fit into MaxLogBytes if that is set; if neither is set, a
// quarter is for events.
type Retention = persistence.Retention

// LogSettings is the logging section of the configuration file. Without a file
// all of it is empty. The runtime itself heeds none of it: a host that embeds
// it has a log of its own.
type LogSettings struct {
	Level string // DEBUG, INFO, WARNING, ERROR or CRITICAL
	JSON  bool
	File  string // empty = wherever the program logs
}

// Validate reports every fault of the options at once.
func (o Options) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	switch o.Durability {
	case "", DurabilityProcess:
	case DurabilityPower:
		if o.DataDir == "" {
			fault("durability power needs a data directory, state in memory survives nothing")
		}
	default:
		fault("durability must be process or power, not %q", o.Durability)
	}
	if o.MaxParallelStarts < 0 {
		fault("max parallel starts must not be negative, it is %d", o.MaxParallelStarts)
	}
	if _, err := supervisor.ParseMemoryBudget(o.MemoryBudget, 1); err != nil {
		fault("memory budget: %w", err)
	}
	for _, age := range []time.Duration{o.MaxLogAge, o.CallRetention.MaxAge, o.EventRetention.MaxAge} {
		if age < 0 {
			fault("max log age must not be negative, it is %s", age)
		}
	}
	if o.CallTimeout < 0 {
		fault("call timeout must not be negative, it is %s", o.CallTimeout)
	}
	if o.Logger != nil && o.OpenLog != nil {
		fault("Logger and OpenLog are both set, choose one")
	}
	return errors.Join(faults...)
}

// loadConfig reads the configuration file, if there is one.
func (o Options) loadConfig() (*config.Config, error) {
	if o.ConfigFile == "" {
		return config.Default(), nil
	}
	cfg, err := config.Load(o.ConfigFile, os.LookupEnv)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return cfg, nil
}

// logger is the runtime's log, made by the host.
func (o Options) logger(cfg *config.Config) (*slog.Logger, error) {
	logger := o.Logger
	if o.OpenLog != nil {
		var err error
		var settings LogSettings
		if o.ConfigFile != "" {
			settings = LogSettings{Level: cfg.Logging.Level, JSON: cfg.Logging.JSON, File: cfg.Logging.File}
		}
		if logger, err = o.OpenLog(settings); err != nil {
			return nil, err
		}
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return logger, nil
}

// heed tells what of the configuration has no effect, and refuses what this
// version has not built.
func (o Options) heed(cfg *config.Config, logger *slog.Logger) error {
	if o.ConfigFile == "" {
		return nil
	}
	for _, w := range cfg.Warnings() {
		if o.Warnings != nil {
			fmt.Fprintln(o.Warnings, w.Error())
		} else {
			logger.Warn("configuration", "detail", w.Error())
		}
	}
	return supported(cfg)
}

// supported refuses what this version has not built.
func supported(cfg *config.Config) error {
	if missing := cfg.Unsupported(); len(missing) > 0 {
		return fmt.Errorf("%w: %w: %w", ErrConfig, ErrNotBuilt, missing)
	}
	return nil
}
