/** What each command is for, in the order of the help, which is said without loading any of them. */
export const SUMMARIES = {
  init: 'make a site’s keys: a CA, and a key for each purpose',
  seal: 'seal a tree of boot files: every signature, in one pass',
  pack: 'put files into an initrd that the loader verifies: a preseed, a kickstart, a root image',
  request: 'write down what must be signed so that a tree is sealed; needs no private key',
  'sign-request': 'answer a request where the keys are',
  attach: 'complete a tree with signatures that were made elsewhere',
  verify: 'verify a sealed tree as its clients will',
  inspect:
    'what a release, a seal, a key or a record says of itself; it needs no anchors and verifies nothing',
  tamper: 'every attack against every emulated client, on a copy',
  publish: 'let a sealed tree through the gate and move a channel to it',
  promote: 'publish what a build has sealed, once enough people have signed its manifest, too',
  policy: 'what everybody judges by who publishes to a state, serves it or goes back',
  channel: 'what a channel points at, and moving it',
  machines: 'which machine gets what: list, explain, sign, arm',
  withdraw: 'take a release out of use for good: it is never served, published or rolled back to again',
  state:
    'the folder where releases and channels live: freeing what nothing needs, watching over the rest, going on from a backup',
  resign:
    'sign the records of a sealed tree, or of a whole store, anew; payload is never read, nothing deleted',
  serve: 'verify a sealed tree, then serve it over HTTP, TFTP and NBD',
  token: 'who may use the API of a server of a state',
  keyholder: 'hold the snapshot key behind a unix socket, and sign for those who may ask',
  mirror:
    'mirrors that nobody needs to trust: follow a channel through them, and whether they hold what was signed',
  export: 'put a channel or a release into one file, to be carried where no wire leads',
  import: 'take in what "export" made: verified as what is pulled from a mirror is, whole or not at all',
  uki: 'make the whole boot of a sealed tree one image, signed for Secure Boot',
  overlay: 'build the initrd overlay: anchors, policy floor and verifier for any initramfs',
  boot: 'boot an emulated machine and say what each stage verified',
  loaders:
    'which loaders are installed here or lie in a folder, what each can verify, and whose keys it trusts',
  'dhcp-config': 'print what a DHCP server must be told, so that each kind of machine finds its loader',
  boots: 'what machines booted, how far they came, and why they stopped; of one machine, or one boot',
  wake: 'send magic packets (Wake-on-LAN), which a machine that is off is switched on by',
  log: 'the transparency log: what happened, proofs of it, and whether it was tampered with',
  keyring: 'curated lists of OpenPGP certificates: the web of trust, run once',
  keys: 'when keys end and what ends with them, and successors for them',
  doctor: 'find what keeps machines from booting, and say what to do about it',
  demo: 'all of it on a sample release, then keep serving',
  completion: 'print what a shell needs to complete commands, options and paths',
  manual: 'print a manual page, or write all of them',
} as const;

export type CommandName = keyof typeof SUMMARIES;
