"""The tables of a store in SQLite; times are in seconds, documents and patches are JSON."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions (
    id TEXT PRIMARY KEY,
    title TEXT NOT NULL DEFAULT '',
    updated_at REAL NOT NULL DEFAULT 0,
    version INTEGER NOT NULL DEFAULT 0,
    user TEXT NOT NULL DEFAULT '',
    size INTEGER NOT NULL DEFAULT 0,
    touched REAL NOT NULL DEFAULT 0,
    gone INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS of_user ON sessions (user, size) WHERE NOT gone;
CREATE INDEX IF NOT EXISTS gone ON sessions (touched) WHERE gone;
CREATE TABLE IF NOT EXISTS messages (
    session TEXT NOT NULL,
    id INTEGER NOT NULL,
    version INTEGER NOT NULL,
    parent INTEGER,
    role TEXT NOT NULL,
    document TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    stream TEXT NOT NULL,
    upstream TEXT NOT NULL,
    asked TEXT,
    running INTEGER NOT NULL,
    base_fence INTEGER NOT NULL,
    base INTEGER NOT NULL,
    end_fence INTEGER NOT NULL DEFAULT 0,
    end INTEGER NOT NULL DEFAULT 0,
    owner TEXT NOT NULL DEFAULT '',
    lease REAL NOT NULL DEFAULT 0,
    attended REAL NOT NULL DEFAULT 0,
    stop INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (session, id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS running ON messages (lease) WHERE running;
CREATE TABLE IF NOT EXISTS log (
    session TEXT NOT NULL,
    message INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    patches TEXT NOT NULL,
    PRIMARY KEY (session, message, epoch, seq)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pools (
    pool TEXT NOT NULL,
    member TEXT NOT NULL,
    until REAL NOT NULL,
    PRIMARY KEY (pool, member)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rates (pool TEXT PRIMARY KEY, filled REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS secret (value TEXT NOT NULL);
"""

VERSION = 2
"""The number of this schema, which a file keeps as its ``user_version``."""

__all__ = ["SCHEMA", "VERSION"]
