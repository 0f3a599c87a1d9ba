package brokertest

import (
	"fmt"
	"os/exec"
	"path/filepath"
)

// findTool returns the path of an installed program, looked for in dirs and
// then in the path.
func findTool(name, debianPackage string, dirs ...string) (string, error) {
	for _, dir := range dirs {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("brokertest: %s not found: apt-get install %s", name, debianPackage)
	}
	return path, nil
}
