"""Rules about connections: ports, selectors, Ingresses, NetworkPolicies."""
