"""This file knows how Alembic runs our migrations: on the connection it is given, within that one's transaction."""

from alembic import context

from schemas.site_tables import metadata

config = context.config


def _run() -> None:
    if context.is_offline_mode():
        context.configure(
            url=config.get_main_option("sqlalchemy.url"),
            target_metadata=metadata,
            literal_binds=True,
            transactional_ddl=True,
        )
    else:
        context.configure(connection=config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()


_run()
