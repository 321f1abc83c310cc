package main

import (
	"context"
	"encoding/binary"
	"net"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/client-go/tools/cache"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/registry/core/service/ipallocator"
	servicestorage "k8s.io/kubernetes/pkg/registry/core/service/storage"
)

// services are the API server's own steps for Services, which give them their addresses and ports
// before the strategy validates them.
var services = newServiceSteps()

type serviceSteps struct{ store *genericregistry.Store }

func newServiceSteps() serviceSteps {
	options := generic.RESTOptions{
		ResourcePrefix: "services",
		StorageConfig:  &storagebackend.ConfigForResource{},
		Decorator:      noStorage,
	}
	addresses := map[api.IPFamily]ipallocator.Interface{
		api.IPv4Protocol: &anyAddress{family: api.IPv4Protocol, last: net.IPv4(10, 0, 0, 0).To4()},
		api.IPv6Protocol: &anyAddress{family: api.IPv6Protocol, last: net.ParseIP("fd00::")},
	}
	made, _, _, err := servicestorage.NewREST(
		options, api.IPv4Protocol, addresses, &anyPort{last: 29999}, nil, nil, nil)
	if err != nil {
		panic(err)
	}
	return serviceSteps{made.Store}
}

func (s serviceSteps) create(ctx context.Context, object runtime.Object) error {
	finish, err := s.store.BeginCreate(ctx, object, &metav1.CreateOptions{})
	if err == nil {
		finish(ctx, true)
	}
	return err
}

func (s serviceSteps) update(ctx context.Context, object, live runtime.Object) error {
	finish, err := s.store.BeginUpdate(ctx, object, live, &metav1.UpdateOptions{})
	if err == nil {
		finish(ctx, true)
	}
	return err
}

// Nothing is stored, so none of its methods is called.
type nowhere struct{ storage.Interface }

func noStorage(
	*storagebackend.ConfigForResource,
	string,
	func(runtime.Object) (string, error),
	func() runtime.Object,
	func() runtime.Object,
	storage.AttrFunc,
	storage.IndexerFuncs,
	*cache.Indexers,
) (storage.Interface, factory.DestroyFunc, error) {
	return nowhere{}, func() {}, nil
}

// anyAddress has every address of a family: the cluster's range is not known here.
type anyAddress struct {
	family api.IPFamily
	last   net.IP
}

var _ ipallocator.Interface = &anyAddress{}

func (a *anyAddress) Allocate(net.IP) error { return nil }

func (a *anyAddress) AllocateNext() (net.IP, error) {
	next := append(net.IP(nil), a.last...)
	tail := next[len(next)-4:]
	binary.BigEndian.PutUint32(tail, binary.BigEndian.Uint32(tail)+1)
	a.last = next
	return next, nil
}

func (a *anyAddress) Release(net.IP) error          { return nil }
func (a *anyAddress) ForEach(func(net.IP))          {}
func (a *anyAddress) IPFamily() api.IPFamily        { return a.family }
func (a *anyAddress) Has(net.IP) bool               { return true }
func (a *anyAddress) Destroy()                      {}
func (a *anyAddress) EnableMetrics()                {}
func (a *anyAddress) DryRun() ipallocator.Interface { return a }

func (a *anyAddress) CIDR() net.IPNet {
	bits := 8 * len(a.last)
	return net.IPNet{IP: make(net.IP, len(a.last)), Mask: net.CIDRMask(0, bits)}
}

// anyPort has every node port: the cluster's range is not known here.
type anyPort struct{ last int }

func (p *anyPort) Allocate(int) error { return nil }

func (p *anyPort) AllocateNext() (int, error) {
	p.last++
	return p.last, nil
}

func (p *anyPort) Release(int) error { return nil }
func (p *anyPort) ForEach(func(int)) {}
func (p *anyPort) Has(int) bool      { return true }
func (p *anyPort) Destroy()          {}
func (p *anyPort) EnableMetrics()    {}
