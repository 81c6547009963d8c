"""The gateway: any model server as resumable, stoppable, editable streams (protocols sections 1, 4, 6)."""
