package main

import (
	"context"
	"fmt"
	"runtime/debug"
)

// version prints the versions of the program and of Go.
func version(_ context.Context, in invocation) error {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = new(debug.BuildInfo)
	}
	_, err := fmt.Fprintf(in.stdout, "calc %s %s\n", versionOf(info), info.GoVersion)
	return err
}

// versionOf returns the revision of the checkout that the program was built from. If there
// was no checkout, it returns the version of the module.
func versionOf(info *debug.BuildInfo) string {
	const shortened = 12
	var revision, dirty string
	for _, setting := range info.Settings {
		switch {
		case setting.Key == "vcs.revision":
			revision = setting.Value[:min(shortened, len(setting.Value))]
		case setting.Key == "vcs.modified" && setting.Value == "true":
			dirty = "-dirty"
		}
	}
	switch {
	case revision != "":
		return revision + dirty
	case info.Main.Version != "":
		return info.Main.Version
	default:
		return "(devel)"
	}
}
