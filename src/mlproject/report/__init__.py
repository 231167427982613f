"""What a reader sees: the report's page, tables, and the commands that make a result again."""
