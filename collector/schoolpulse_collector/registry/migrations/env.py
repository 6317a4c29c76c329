"""Runs the migrations on the connection that the registry opened."""

from alembic import context

from schoolpulse_collector.registry.model import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
with context.begin_transaction():
    context.run_migrations()
