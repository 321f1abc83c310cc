// Modules whose files are data: scripts/checks/api_schemas.py makes schemas of the custom resources in those
// named here, and of every version of k8s.io/kubernetes in go.sum; go-sarif has SARIF's own, for
// the tests. `nox -s lock` writes go.sum.
module tools/schemas

go 1.27.0

require (
	github.com/argoproj/argo-cd/v3 v3.6.1
	github.com/external-secrets/external-secrets v1.3.2
	github.com/kubernetes-csi/external-snapshotter/client/v8 v8.7.0
	github.com/owenrumney/go-sarif/v3 v3.3.1
	github.com/prometheus-operator/prometheus-operator v0.85.0
)
