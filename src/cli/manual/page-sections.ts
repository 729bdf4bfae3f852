/** What a manual page says that no command's definition holds: each a term and what it means. */
export type Terms = readonly (readonly [term: string, meaning: string])[];

export const EXIT_STATUS: Terms = [
  ['0', 'Done, or verified.'],
  ['1', 'Refused: a verdict, which names its reason.'],
  ['2', 'A usage error, or a mistake in a configuration: nothing was begun.'],
  ['3', 'A disk, a limit of this machine, or the other side: an I/O error.'],
  ['130, 143', 'Ended by a signal, SIGINT or SIGTERM, before it was done.'],
];

export const ENVIRONMENT: Terms = [
  [
    'SOURCE_DATE_EPOCH',
    'Seconds since 1970: the date of issue of whatever is made, where --issued does not say it.',
  ],
  [
    'BOOTSEAL_LOG',
    'From which level on lines are logged: trace, debug, info (the default), warn, error or silent.',
  ],
  ['BOOTSEAL_DEBUG', 'Not empty: errors are told with the places in the program where they happened.'],
  [
    'AWS_ENDPOINT_URL_S3, AWS_REGION, AWS_PROFILE, AWS_ACCESS_KEY_ID …',
    'Where the bucket of a state lies, and who may use it, as for other programs: docs/s3.md.',
  ],
  [
    'BOOTSEAL_S3_PATH_STYLE',
    'yes or no: whether the name of a bucket stands in the path or in the host’s name.',
  ],
  ['NO_COLOR', 'Not empty: no colours, on a terminal either.'],
  ['XDG_STATE_HOME', 'Where a user’s programs keep what must outlive them, instead of ~/.local/state.'],
  [
    'LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES',
    'Sockets that "bootseal serve" was given by systemd, or by whoever else opened them (sd_listen_fds(3)).',
  ],
];

/** Of programs that sign for Bootseal. */
export const PROGRAMS_ENVIRONMENT: Terms = [
  ['BOOTSEAL_KEY', 'The key that is meant: codesign, manifest, openpgp and so on.'],
  ['BOOTSEAL_HASH', 'The hash whose digest stands on their standard input: sha256 or sha512.'],
];

export const FILES: Terms = [
  ['DIR/anchors, DIR/private', 'What "bootseal init DIR" makes: what others trust, and the keys.'],
  ['TREE/bootseal.toml', 'Which file of a plain tree is which.'],
  ['STATE/policy.toml', 'By what everybody judges who publishes to a state, serves it or goes back.'],
  ['STATE/machines', 'What is written about machines: which of them gets what.'],
  ['STATE/loaders', 'Loaders that a server of this state offers.'],
  [
    '/etc/bootseal/anchors, /etc/bootseal/snapshot',
    'What the units of a package verify by, and the keyholder’s key.',
  ],
  ['/etc/bootseal/bootseal.toml', 'What their server reads as its configuration ("serve --config").'],
  ['/etc/default/bootseal', 'Further words for them: BOOTSEAL_SERVE="…", BOOTSEAL_KEYHOLDER="…".'],
  ['/var/lib/bootseal', 'Their state.'],
  ['~/.local/state/bootseal', 'Journals of what was interrupted, and what "bootseal demo" makes.'],
];
