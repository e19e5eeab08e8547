"""Use cases, one verb each, over whatever store the deployment has."""
