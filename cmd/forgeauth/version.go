package main

import (
	"context"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/forgeauth/forgeauth"
)

// build says what this binary is.
type build struct {
	Version  string `json:"version"`  // "devel" where neither a release nor a module version is known
	Commit   string `json:"commit"`   // empty where the build had no repository
	Modified bool   `json:"modified"` // built from a tree with changes of its own
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func readBuild() build {
	b := build{Version: forgeauth.Version(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			b.Commit = setting.Value
		case "vcs.modified":
			b.Modified = setting.Value == "true"
		}
	}
	return b
}

func (p *program) versionCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:   "version",
		Short: "Print what this binary is",
		Args:  cobra.NoArgs,
		RunE: p.action(func(context.Context, []string) error {
			b := readBuild()
			if asJSON {
				return printJSON(p, b)
			}
			p.printf("forgeauth %s (%s, %s)\n", b.Version, b.Go, b.Platform)
			return nil
		}),
	}
	jsonFlag(command, &asJSON)
	return command
}

func jsonFlag(command *cobra.Command, asJSON *bool) {
	command.Flags().BoolVar(asJSON, "json", false, "print the result as JSON")
}
