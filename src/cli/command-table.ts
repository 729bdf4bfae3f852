import type { Command } from 'commander';
import type { CommandName } from './summaries.ts';

/** Makes a command; `whole` is the program with all of them, for those that tell of the others. */
type Load = (whole: () => Promise<Command>) => Promise<Command>;

/** Each is loaded when it is called: a command that signs nothing waits for no signer. */
export const COMMANDS: Readonly<Record<CommandName, Load>> = {
  init: async () => (await import('./commands/init.ts')).initCommand(),
  seal: async () => (await import('./commands/seal.ts')).sealCommand(),
  pack: async () => (await import('./commands/pack.ts')).packCommand(),
  request: async () => (await import('./commands/request.ts')).requestCommand(),
  'sign-request': async () => (await import('./commands/request.ts')).signRequestCommand(),
  attach: async () => (await import('./commands/request.ts')).attachCommand(),
  verify: async () => (await import('./commands/verify.ts')).verifyCommand(),
  inspect: async () => (await import('./commands/inspect.ts')).inspectCommand(),
  tamper: async () => (await import('./commands/tamper.ts')).tamperCommand(),
  publish: async () => (await import('./commands/publish.ts')).publishCommand(),
  promote: async () => (await import('./commands/promote.ts')).promoteCommand(),
  policy: async () => (await import('./commands/policy.ts')).policyCommand(),
  channel: async () => (await import('./commands/channel.ts')).channelCommand(),
  machines: async () => (await import('./commands/machines.ts')).machinesCommand(),
  withdraw: async () => (await import('./commands/withdraw.ts')).withdrawCommand(),
  state: async () => (await import('./commands/state.ts')).stateCommand(),
  resign: async () => (await import('./commands/resign.ts')).resignCommand(),
  serve: async () => (await import('./commands/serve.ts')).serveCommand(),
  token: async () => (await import('./commands/token.ts')).tokenCommand(),
  keyholder: async () => (await import('./commands/keyholder.ts')).keyholderCommand(),
  mirror: async () => (await import('./commands/mirror.ts')).mirrorCommand(),
  export: async () => (await import('./commands/export.ts')).exportCommand(),
  import: async () => (await import('./commands/import.ts')).importCommand(),
  uki: async () => (await import('./commands/uki.ts')).ukiCommand(),
  overlay: async () => (await import('./commands/overlay.ts')).overlayCommand(),
  boot: async () => (await import('./commands/boot.ts')).bootCommand(),
  loaders: async () => (await import('./commands/loaders.ts')).loadersCommand(),
  'dhcp-config': async () => (await import('./commands/dhcp-config.ts')).dhcpConfigCommand(),
  boots: async () => (await import('./commands/boots.ts')).bootsCommand(),
  wake: async () => (await import('./commands/wake.ts')).wakeCommand(),
  log: async () => (await import('./commands/log.ts')).logCommand(),
  keyring: async () => (await import('./commands/keyring.ts')).keyringCommand(),
  keys: async () => (await import('./commands/keys.ts')).keysCommand(),
  doctor: async () => (await import('./commands/doctor.ts')).doctorCommand(),
  demo: async () => (await import('./commands/demo.ts')).demoCommand(),
  completion: async (whole) => (await import('./commands/completion.ts')).completionCommand(whole),
  manual: async (whole) => (await import('./commands/manual.ts')).manualCommand(whole),
};
