"""The cloud service: stores, raises and escalates alarms, serves the API and the console."""
