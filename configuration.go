package hangar

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/aabb9013/hangar/httpapi"
	"github.com/aabb9013/hangar/internal/config"
	"github.com/aabb9013/hangar/supervisor"
)

// ErrNoBackup: a backup of the configuration cannot be written; the text says
// where and why.
var ErrNoBackup = httpapi.ErrConfigBackup

// present is the configuration as it runs: the file as it was applied last,
// with every change since and with the servers made by the API.
func (rt *Runtime) present() (*config.Config, error) {
	sys, err := rt.system()
	if err != nil {
		return nil, err
	}
	var specs []supervisor.ServerSpec
	for _, v := range sys.Views() {
		specs = append(specs, v.Spec)
	}
	var groups []supervisor.GroupSpec
	for _, v := range sys.GroupViews() {
		groups = append(groups, v.Spec)
	}
	return rt.configuration().WithSpecs(specs).WithGroups(groups), nil
}

// ConfigDocument is the present configuration as JSON values for readers who
// may not know its secrets; mcp_servers is a list.
func (rt *Runtime) ConfigDocument() (map[string]any, error) {
	c, err := rt.present()
	if err != nil {
		return nil, err
	}
	return c.Document()
}

// ExportConfig is the present configuration as a file that New takes. Secrets
// are references to the variables, which must be set before it is loaded.
func (rt *Runtime) ExportConfig() (yaml string, variables []string, err error) {
	c, err := rt.present()
	if err != nil {
		return "", nil, err
	}
	e, err := c.Export()
	for _, v := range e.Variables {
		variables = append(variables, v.Name)
	}
	return e.YAML, variables, err
}

// BackupConfig writes the present configuration beside the configuration file
// and returns where, as an absolute path. The last five are kept. ErrConfig without a file,
// ErrNoBackup.
func (rt *Runtime) BackupConfig() (path string, err error) {
	if rt.opts.ConfigFile == "" {
		return "", fmt.Errorf("%w: the runtime was started without a configuration file, so there is no place for a backup", ErrConfig)
	}
	c, err := rt.present()
	if err != nil {
		return "", err
	}
	e, err := c.Backup(time.Now())
	if err != nil {
		return "", err
	}
	rt.backups.Lock()
	defer rt.backups.Unlock()
	if path, err = config.WriteBackup(rt.opts.ConfigFile, e.YAML); err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoBackup, err)
	}
	return filepath.Abs(path)
}

// DiffConfig compares the configuration file with the present configuration,
// as a unified diff without secrets; empty if they mean the same. A file that
// is gone counts as empty. ErrConfig if it has mistakes.
func (rt *Runtime) DiffConfig() (string, error) {
	now, err := rt.present()
	if err != nil {
		return "", err
	}
	onDisk := config.Default()
	if rt.opts.ConfigFile != "" {
		switch read, err := config.Load(rt.opts.ConfigFile, os.LookupEnv); {
		case err == nil:
			onDisk = read
		case !errors.Is(err, fs.ErrNotExist):
			return "", fmt.Errorf("%w: %w", ErrConfig, err)
		}
	}
	return config.TextDiff("on-disk", "in-memory", onDisk, now)
}
