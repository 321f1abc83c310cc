"""What a difference does on the cluster: to pods, data, access, cost and the sync itself."""
