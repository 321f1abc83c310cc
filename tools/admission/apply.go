package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kube-openapi/pkg/builder3"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/util"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/generated/openapi"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

// manager owns what Argo CD applies.
const manager = "argocd-controller"

// A server applies objects as the API server does for Argo CD, by server-side apply, without a store.
type server struct {
	types    managedfields.TypeConverter
	managers map[schema.GroupVersionKind]*managedfields.FieldManager
}

// newServer returns a server for the kinds; it knows the merge rules of no others.
func newServer(gvks []schema.GroupVersionKind) (*server, error) {
	namer := openapinamer.NewDefinitionNamer(legacyscheme.Scheme)
	config := &common.OpenAPIV3Config{GetDefinitionName: namer.GetDefinitionName}
	config.Definitions = openapi.GetOpenAPIDefinitions(func(name string) spec.Ref {
		defined, _ := namer.GetDefinitionName(name)
		return spec.MustCreateRef("#/components/schemas/" + common.EscapeJsonPointer(defined))
	})
	var names []string
	for _, gvk := range gvks {
		sample, err := legacyscheme.Scheme.New(gvk)
		if err != nil {
			return nil, err
		}
		names = append(names, util.GetCanonicalTypeName(sample))
	}
	definitions, err := builder3.BuildOpenAPIDefinitionsForResources(config, names...)
	if err != nil {
		return nil, err
	}
	types, err := managedfields.NewTypeConverter(definitions, false)
	if err != nil {
		return nil, err
	}
	return &server{types, map[schema.GroupVersionKind]*managedfields.FieldManager{}}, nil
}

func (s *server) manager(gvk schema.GroupVersionKind) (*managedfields.FieldManager, error) {
	if known := s.managers[gvk]; known != nil {
		return known, nil
	}
	scheme := legacyscheme.Scheme
	made, err := managedfields.NewDefaultFieldManager(
		s.types, scheme, scheme, scheme, gvk, internal(gvk), "", nil)
	s.managers[gvk] = made
	return made, err
}

func internal(gvk schema.GroupVersionKind) schema.GroupVersion {
	return schema.GroupVersion{Group: gvk.Group, Version: runtime.APIVersionInternal}
}

// create returns the object as it is stored, or why the API server rejects it.
func (s *server) create(applied *unstructured.Unstructured) (runtime.Object, []failure) {
	gvk := applied.GroupVersionKind()
	empty, err := legacyscheme.Scheme.New(gvk)
	if err != nil {
		return nil, unplaced(err)
	}
	object, failures := s.merged(empty, applied)
	if failures != nil {
		return nil, failures
	}
	accessor, err := meta.Accessor(object)
	if err != nil {
		return nil, unplaced(err)
	}
	rest.FillObjectMetaSystemFields(accessor)
	accessor.SetResourceVersion("")
	if err := create(s.context(applied, "create"), gvk.GroupKind(), object); err != nil {
		return nil, failuresOf(err, applied)
	}
	accessor.SetResourceVersion("1")
	settle(object)
	return object, nil
}

// settle writes what controllers write, as far as it decides about later updates.
func settle(object runtime.Object) {
	if claim, ok := object.(*api.PersistentVolumeClaim); ok {
		claim.Status.Phase = api.ClaimBound
		claim.Status.Capacity = claim.Spec.Resources.Requests
		if claim.Spec.VolumeName == "" {
			claim.Spec.VolumeName = "bound"
		}
	}
}

// update returns why the API server rejects the object as an update of the live one.
func (s *server) update(applied *unstructured.Unstructured, live runtime.Object) []failure {
	object, failures := s.merged(live.DeepCopyObject(), applied)
	if failures != nil {
		return failures
	}
	err := update(s.context(applied, "update"), applied.GroupVersionKind().GroupKind(), object, live)
	return failuresOf(err, applied)
}

// merged returns the live object with what is applied, decoded and with its defaults.
func (s *server) merged(
	live runtime.Object, applied *unstructured.Unstructured,
) (runtime.Object, []failure) {
	// The manager does that, too, but keeps only the text of the errors.
	if _, err := s.types.ObjectToTyped(applied); err != nil {
		var all typed.ValidationErrors
		if errors.As(err, &all) {
			return nil, ofMerge(all, applied)
		}
		return nil, unplaced(err)
	}
	fields, err := s.manager(applied.GroupVersionKind())
	if err != nil {
		return nil, unplaced(err)
	}
	object, err := fields.Apply(live, applied.DeepCopy(), manager, true)
	if err != nil {
		return nil, unplaced(err)
	}
	return object, nil
}

func (s *server) context(applied *unstructured.Unstructured, verb string) context.Context {
	gvk := applied.GroupVersionKind()
	resource, _ := meta.UnsafeGuessKindToResource(gvk)
	ctx := genericapirequest.WithNamespace(genericapirequest.NewContext(), applied.GetNamespace())
	return genericapirequest.WithRequestInfo(ctx, &genericapirequest.RequestInfo{
		IsResourceRequest: true,
		Verb:              verb,
		APIGroup:          gvk.Group,
		APIVersion:        gvk.Version,
		Namespace:         applied.GetNamespace(),
		Resource:          resource.Resource,
		Name:              applied.GetName(),
		Path:              fmt.Sprintf("/%s/%s", strings.ToLower(gvk.Kind), applied.GetName()),
	})
}
