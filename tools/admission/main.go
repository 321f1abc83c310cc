// Admission reports why the API server would reject objects, without an API server.
//
// It reads a stream of JSON, each {"object": …} or {"object": …, "old": …}, and writes each error as
// a line of JSON, then a line with what it checked. An object goes the way of server-side apply:
// merged with the old object as that would be stored, defaulted, and validated by Kubernetes' own
// strategies for its kind. What it does not know: custom resources, admission plugins (quotas, pod
// security, webhooks), other objects, and the cluster's address ranges.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/capabilities"
)

type request struct {
	Object *unstructured.Unstructured `json:"object"`
	Old    *unstructured.Unstructured `json:"old"`
}

type summary struct {
	Kubernetes string `json:"kubernetes"`
	Checked    int    `json:"checked"`
	// Kinds that are not checked, with the number of their objects.
	Skipped map[string]int `json:"skipped"`
}

func main() {
	flags := flag.NewFlagSet("admission", flag.ExitOnError)
	flags.Usage = func() {
		fmt.Fprintln(os.Stderr, `usage: admission <requests

Each request is JSON: {"object": …}, for an update with "old": …`)
	}
	_ = flags.Parse(os.Args[1:])
	quiet := flag.NewFlagSet("", flag.ContinueOnError)
	klog.InitFlags(quiet)
	_ = quiet.Parse([]string{"-logtostderr=false", "-stderrthreshold=FATAL"})
	klog.SetOutput(io.Discard)
	// As in nearly all clusters; what a namespace allows is up to pod security.
	capabilities.Setup(true, 0)
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "admission:", err)
		os.Exit(1)
	}
}

func run(input io.Reader, output io.Writer) error {
	requests, err := read(input)
	if err != nil {
		return err
	}
	var gvks []schema.GroupVersionKind
	for _, asked := range requests {
		for _, object := range []*unstructured.Unstructured{asked.Object, asked.Old} {
			if object != nil && isKnown(object) && !slices.Contains(gvks, object.GroupVersionKind()) {
				gvks = append(gvks, object.GroupVersionKind())
			}
		}
	}
	server, err := newServer(gvks)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriter(output)
	lines := json.NewEncoder(buffered)
	lines.SetEscapeHTML(false)
	total := summary{Kubernetes: kubernetesVersion(), Skipped: map[string]int{}}
	for index, asked := range requests {
		if !isKnown(asked.Object) {
			total.Skipped[asked.Object.GetAPIVersion()+" "+asked.Object.GetKind()]++
			continue
		}
		total.Checked++
		for _, found := range server.check(asked) {
			found.Index = index
			found.Object = asked.Object.GetKind() + "/" + asked.Object.GetName()
			if asked.Object.GetKind() == "Secret" {
				found.Value = nil
			}
			if err := lines.Encode(found); err != nil {
				return err
			}
		}
	}
	if err := lines.Encode(total); err != nil {
		return err
	}
	return buffered.Flush()
}

func read(input io.Reader) ([]request, error) {
	var requests []request
	decoder := json.NewDecoder(bufio.NewReader(input))
	for {
		var next request
		if err := decoder.Decode(&next); errors.Is(err, io.EOF) {
			return requests, nil
		} else if err != nil {
			return nil, fmt.Errorf("request %d: %w", len(requests), err)
		}
		if next.Object == nil {
			return nil, fmt.Errorf("request %d has no object", len(requests))
		}
		for _, object := range []*unstructured.Unstructured{next.Object, next.Old} {
			place(object)
		}
		requests = append(requests, next)
	}
}

// place puts an object without a namespace where the API server puts it.
func place(object *unstructured.Unstructured) {
	if object == nil || !isKnown(object) {
		return
	}
	scoped := kinds[object.GroupVersionKind().GroupKind()].NamespaceScoped()
	if !scoped {
		object.SetNamespace("")
	} else if object.GetNamespace() == "" {
		object.SetNamespace("default")
	}
}

func isKnown(object *unstructured.Unstructured) bool {
	gvk := object.GroupVersionKind()
	return kinds[gvk.GroupKind()] != nil && legacyscheme.Scheme.Recognizes(gvk)
}

// isSame returns whether two objects are the same one to the API server.
func isSame(object, old *unstructured.Unstructured) bool {
	return object.GroupVersionKind().GroupKind() == old.GroupVersionKind().GroupKind() && isKnown(old) &&
		object.GetNamespace() == old.GetNamespace() && object.GetName() == old.GetName()
}

// check returns why an object is rejected: as a new one, and as an update of the old one.
func (s *server) check(asked request) []failure {
	_, found := s.create(asked.Object)
	if known := withoutUnknown(asked.Object, found); known != nil {
		// The API server would stop here; what else is wrong is better known at once.
		asked.Object = known
		_, others := s.create(known)
		found = append(found, others...)
	}
	for index := range found {
		found[index].Operation = "create"
	}
	if asked.Old == nil || !isSame(asked.Object, asked.Old) {
		return found
	}
	live, rejected := s.create(asked.Old)
	if rejected != nil {
		// The cluster cannot have it.
		return found
	}
	for _, failed := range s.update(asked.Object, live) {
		failed.Operation = "update"
		if !slices.ContainsFunc(found, func(other failure) bool {
			return other.Field == failed.Field && other.Type == failed.Type && other.Detail == failed.Detail
		}) {
			found = append(found, failed)
		}
	}
	return found
}

// kubernetesVersion returns the version of Kubernetes that this is built with.
func kubernetesVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == "k8s.io/kubernetes" {
				return module.Version
			}
		}
	}
	return "unknown"
}
