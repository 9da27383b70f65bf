"""What several rooms speak: schemas, snapshots, interactions, the model store, databases, the run's journal."""
