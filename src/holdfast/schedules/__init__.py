"""Schedules: jobs that are submitted at moments a cron expression names, by an entity per schedule."""
