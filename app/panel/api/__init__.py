"""The admin API: everything that the pages can do, as JSON, with its own description at /admin/api/openapi.json."""
