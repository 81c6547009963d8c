"""Where a gateway keeps what must outlive its processes: one contract, three stores."""
