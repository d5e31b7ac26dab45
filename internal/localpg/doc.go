// Package localpg keeps a private Postgres cluster for a forgeauth that was given no DATABASE_URL, and for tests and
// the demo.
//
// # What it owns
//
// One directory, [Config].Dir, mode 0700, owned by the account that the server runs as:
//
//	lock         flock'd while a Start holds the cluster; holds the pid of that forgeauth
//	data/        the cluster itself (PGDATA); exists only when initdb has finished
//	init-*/      an initdb under way; left-overs are removed by the next Start
//	run/         the Unix socket, unless its path would be too long for one or hold a comma
//	socket-dir   names the directory of the socket where that is not run/
//	server.log   what the server printed; rotated once to server.log.1 when a Start finds it large
//
// # States
//
// Absent, or left behind by an initdb that was cut short: Start runs initdb in a directory of another name, flushes it
// and renames it, so that data/ is whole or not there. Stopped: Start launches the server. Orphaned (forgeauth was
// killed and its server runs on): Start shuts that server down fast and launches its own, because a child can be
// waited for and an adopted process cannot. Held by another forgeauth: Start returns an [InUseError]. A
// pid file whose process is gone, or is by now some other program, stops nobody.
//
// # Who runs it
//
// Postgres refuses to run as root. A forgeauth that is root starts every process of the cluster, initdb
// and version queries included, as the owner of an existing cluster, else as the first of the accounts postgres,
// forgeauth, nobody. Root touches what is in the directory through [os.Root] only, so that the account cannot lead it
// elsewhere with a link. A directory that this account cannot reach is an [UnreachableError] that names the folder in
// the way. The server gets a small environment of its own: none of forgeauth's variables, which hold keys, reach it.
//
// # Who may connect
//
// The server listens on no network address, only on a Unix socket of mode 0700 in a directory of mode 0700, and
// trusts who reaches it. Only root and the account itself can, and both can read the data files anyway: a password
// or a peer map would keep nobody out, would have to be stored beside the data, and peer needs an entry in
// /etc/passwd for whoever connects. Where Dir is too deep for a socket path (107 bytes on Linux, 103 on macOS), or has a
// comma in its name, at which connection strings are split, the socket lives in a fresh directory with a random name in
// the temporary directory: mkdir creates it with mode 0700 or fails, so nobody can have prepared it.
//
// # How it ends
//
// [Server.Stop] shuts down fast and waits; when its context ends first it shuts down without a checkpoint, which the next start
// repairs from the write-ahead log. A kill -9 of forgeauth on Linux makes the kernel send SIGINT to the server (the parent death
// signal), which is a fast shutdown; elsewhere the server runs on until the next Start takes over. Either way no
// committed transaction is lost.
//
// # Where the binaries come from
//
// Installed ones of version 14 or newer are used where there are any: PATH, the versioned folders of Debian and Red
// Hat, Homebrew, Postgres.app. Else the archives that github.com/fergusstrange/embedded-postgres fetches are unpacked
// into [Config].CacheDir. A cluster is only ever started by the major version that made it; [VersionError] otherwise.
package localpg
