FROM crew/otter
CMD ["alembic", "upgrade", "head"]
