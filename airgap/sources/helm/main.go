// Command helm-render renders a Helm chart as Helm would install it, without a
// cluster and without a network, and prints the objects as JSON.
//
// It reads one request from standard input:
//
//	{"chart": "app.tgz", "release": "app", "namespace": "app",
//	 "kubernetes": "1.36.3", "values": ["app-values.yaml"]}
//
// and prints one answer to standard output:
//
//	{"name": "app", "version": "1.2.3",
//	 "objects": [{"template": "app/templates/deploy.yaml", "object": {…}}]}
//
// Objects come in a fixed order: those of the folders crds/ first, then those of
// the templates by their paths. Hooks are among them, all but those that run
// for `helm test` alone. Notes are not. `lookup` finds nothing, names are not
// resolved, and schemas of values are not looked at, since a schema may name
// addresses to load more from.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"sort"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	release "helm.sh/helm/v4/pkg/release/v1"
	releaseutil "helm.sh/helm/v4/pkg/release/v1/util"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
)

type request struct {
	Chart      string   `json:"chart"`
	Release    string   `json:"release"`
	Namespace  string   `json:"namespace"`
	Kubernetes string   `json:"kubernetes"`
	Values     []string `json:"values"`
}

type answer struct {
	Name    string   `json:"name"`
	Version string   `json:"version"`
	Objects []object `json:"objects"`
}

type object struct {
	Template string          `json:"template"`
	Object   json.RawMessage `json:"object"`
}

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	var asked request
	if err := json.NewDecoder(in).Decode(&asked); err != nil {
		return fmt.Errorf("the request is not understood: %w", err)
	}
	loaded, err := loader.LoadFile(asked.Chart)
	if err != nil {
		return err
	}
	objects, err := render(loaded, &asked)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(answer{loaded.Name(), loaded.Metadata.Version, objects})
}

// render gives all objects of a chart, those of crds/ first.
func render(loaded *chart.Chart, asked *request) ([]object, error) {
	if err := usable(loaded); err != nil {
		return nil, err
	}
	version, err := common.ParseKubeVersion(asked.Kubernetes)
	if err != nil {
		return nil, err
	}
	wanted := loaded.Metadata.KubeVersion
	if wanted != "" && !chartutil.IsCompatibleRange(wanted, version.String()) {
		return nil, fmt.Errorf("the chart wants Kubernetes %s, and the site has %s", wanted, asked.Kubernetes)
	}
	values, err := readValues(asked.Values)
	if err != nil {
		return nil, err
	}
	if err := chartutil.ProcessDependencies(loaded, values); err != nil {
		return nil, err
	}
	files, err := renderTemplates(loaded, values, asked, version)
	if err != nil {
		return nil, err
	}
	var found []object
	for _, crd := range loaded.CRDObjects() {
		if found, err = appendObjects(found, crd.Filename, crd.File.Data); err != nil {
			return nil, err
		}
	}
	return appendRendered(found, files)
}

// usable refuses what Helm would not install.
func usable(loaded *chart.Chart) error {
	if loaded.Metadata.APIVersion != chart.APIVersionV1 && loaded.Metadata.APIVersion != chart.APIVersionV2 {
		return fmt.Errorf("charts of apiVersion %q are not known", loaded.Metadata.APIVersion)
	}
	if loaded.Metadata.Type == "library" {
		return errors.New("it is a library for other charts, which is not installed by itself")
	}
	var missing []string
	for _, wanted := range loaded.Metadata.Dependencies {
		if !hasChart(loaded, wanted.Name) {
			missing = append(missing, wanted.Name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("sub-charts are not in the archive: %s", strings.Join(missing, ", "))
	}
	return nil
}

func hasChart(parent *chart.Chart, name string) bool {
	for _, inner := range parent.Dependencies() {
		if inner.Name() == name {
			return true
		}
	}
	return false
}

// readValues merges files of values, the later ones over the earlier ones.
func readValues(paths []string) (map[string]any, error) {
	values := map[string]any{}
	for number, name := range paths {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		more, err := loader.LoadValues(bytes.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("values file %d: %w", number+1, err)
		}
		values = loader.MergeMaps(values, more)
	}
	return values, nil
}

func renderTemplates(
	loaded *chart.Chart,
	values map[string]any,
	asked *request,
	version *common.KubeVersion,
) (map[string]string, error) {
	capabilities := common.DefaultCapabilities.Copy()
	capabilities.KubeVersion = *version
	options := common.ReleaseOptions{
		Name:      asked.Release,
		Namespace: asked.Namespace,
		Revision:  1,
		IsInstall: true,
	}
	skipSchemas := true
	all, err := util.ToRenderValuesWithSchemaValidation(loaded, values, options, capabilities, skipSchemas)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(loaded, all)
	if err != nil {
		return nil, err
	}
	for name := range files {
		if path.Base(name) == "NOTES.txt" {
			delete(files, name)
		}
	}
	return files, nil
}

// appendRendered adds the objects of the templates, by path and then in the
// order in which a template has them.
func appendRendered(found []object, files map[string]string) ([]object, error) {
	hooks, manifests, err := releaseutil.SortManifests(files, nil, releaseutil.InstallOrder)
	if err != nil {
		return nil, err
	}
	for _, hook := range hooks {
		if !onlyTests(hook) {
			manifests = append(manifests, releaseutil.Manifest{Name: hook.Path, Content: hook.Manifest})
		}
	}
	sort.SliceStable(manifests, func(a, b int) bool { return manifests[a].Name < manifests[b].Name })
	for _, manifest := range manifests {
		if found, err = appendObjects(found, manifest.Name, []byte(manifest.Content)); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func onlyTests(hook *release.Hook) bool {
	for _, event := range hook.Events {
		if event != release.HookTest {
			return false
		}
	}
	return len(hook.Events) > 0
}

// appendObjects adds the objects of a YAML text, which may hold several.
func appendObjects(found []object, name string, text []byte) ([]object, error) {
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		var one json.RawMessage
		err := decoder.Decode(&one)
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if len(one) > 0 && !bytes.Equal(one, []byte("null")) {
			found = append(found, object{name, one})
		}
	}
}
