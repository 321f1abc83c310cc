"""Rules about who reaches whom: ports, selectors, Ingresses, NetworkPolicies."""
