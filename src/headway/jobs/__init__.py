"""What runs, as values: programs, resources, specifications, the folder, and the pure life of a job."""
