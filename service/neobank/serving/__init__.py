"""How requests reach the application: gunicorn's configuration, its worker, and the gateway to the WSGI application."""
