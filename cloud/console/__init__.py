"""The console: server-rendered pages, a small event-stream module, translations."""
