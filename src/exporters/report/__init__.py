"""What a reader sees of all stages: the report's page, its tables, and the commands that make a result again."""
