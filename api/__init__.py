"""HTTP for people and programs: shows what is recorded, with its age; asks the daemon to act. Never probes."""
