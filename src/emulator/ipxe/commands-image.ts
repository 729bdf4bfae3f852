import {
  type Call,
  type CommandTable,
  couldNot,
  type IpxeCommand,
  KEEP,
  NAME,
  QUIET,
  TIMEOUT,
} from './command.ts';
import { acquire, download } from './download.ts';
import { ENOENT, ENOTSUP, ENOTTY, type Failure, notExecutable, type Status } from './failure.ts';
import { type Image, isExecutable } from './images.ts';
import type { State } from './state.ts';
import { parseUri } from './uri.ts';

const AUTOFREE = { long: 'autofree', short: 'a', kind: 'flag' } as const;
const SINGLE = [NAME, TIMEOUT, QUIET, AUTOFREE] as const;

interface Single {
  acquire(state: State, nameOrUri: string, quiet: boolean): Promise<Image | { failure: Failure }>;
  before?(image: Image): void;
  act?(call: Call, image: Image): Promise<Status> | Status;
  readonly verb?: string;
}

/** The order of its steps is that of `imgsingle_exec` in iPXE's `src/hci/commands/image_cmd.c`. */
async function single(call: Call, how: Single): Promise<Status> {
  const { state, args, strings, flags } = call;
  const [nameOrUri, ...words] = args;
  let image: Image | undefined;
  if (nameOrUri === undefined) {
    image = state.images.findSelected();
    if (image === undefined) {
      // Lore, and a trap: iPXE counts this as a success, so `boot || goto refuse` does not go to refuse.
      state.print('No image selected\n');
      return undefined;
    }
  } else {
    const acquired = await how.acquire(state, nameOrUri, flags.has('quiet'));
    if ('failure' in acquired) return acquired.failure;
    image = acquired;
  }
  how.before?.(image);
  image.name = strings.get('name') ?? image.name;
  if (words.length > 0) image.cmdline = words.join(' ');
  if (flags.has('autofree')) image.autofree = true;
  const status = await how.act?.(call, image);
  return status === undefined ? undefined : couldNot(state, how.verb ?? 'boot', status);
}

const fetchImage: IpxeCommand = {
  options: SINGLE,
  min: 1,
  usage: '<uri> [<arguments>...]',
  // Always a download, even where an image of that name is there already.
  run: (call) => single(call, { acquire: (state, uri, quiet) => download(state, parseUri(uri), quiet) }),
};

const selectImage: IpxeCommand = {
  options: SINGLE,
  min: 1,
  usage: '<uri|image> [<arguments>...]',
  run: (call) =>
    single(call, {
      acquire,
      verb: 'select',
      act: ({ state }, image) => {
        if (!isExecutable(image)) return notExecutable(image.name);
        state.images.selected = image;
        return undefined;
      },
    }),
};

const executeImage: IpxeCommand = {
  options: [...SINGLE, { long: 'replace', short: 'r', kind: 'flag' }],
  min: 0,
  usage: '[<uri|image> [<arguments>...]]',
  run: (call) =>
    single(call, {
      acquire,
      verb: 'boot',
      act: ({ shell, state, flags }, image) => {
        if (!flags.has('replace')) return shell.executeImage(image);
        // Whether the replacement is trusted is asked only when it is executed, after this script has ended.
        const current = state.images.current;
        if (current === undefined) return ENOTTY;
        if (!isExecutable(image)) return notExecutable(image.name);
        current.replacement = image;
        state.stop = 2;
        return undefined;
      },
    }),
};

function multiple(payload: (state: State, image: Image) => void): IpxeCommand {
  return {
    options: [],
    min: 0,
    usage: '[<image>...]',
    run: ({ state, args }) => {
      if (args.length === 0) for (const image of state.images.all()) payload(state, image);
      for (const name of args) {
        const image = state.images.find(name);
        if (image === undefined) {
          state.print(`"${name}": no such image\n`);
          return ENOENT;
        }
        payload(state, image);
      }
      return undefined;
    },
  };
}

/** One line of `imgstat`. */
export function describeImage(state: State, image: Image): string {
  const tags = [
    image.type,
    image === state.images.current && 'CURRENT',
    image === state.images.selected && 'SELECTED',
    image.trusted && 'TRUSTED',
    image.autofree && 'AUTOFREE',
    image.hidden && 'HIDDEN',
  ]
    .filter((tag) => typeof tag === 'string')
    .map((tag) => ` [${tag}]`)
    .join('');
  const cmdline = image.cmdline === undefined ? '' : ` "${image.cmdline}"`;
  return `${image.name} : ${image.bytes.length} bytes${tags}${cmdline}\n`;
}

export const imageCommands: CommandTable = {
  imgfetch: fetchImage,
  module: fetchImage,
  initrd: fetchImage,
  imgselect: selectImage,
  imgload: selectImage,
  kernel: selectImage,
  imgexec: executeImage,
  chain: executeImage,
  boot: executeImage,
  imgargs: {
    options: SINGLE,
    min: 1,
    usage: '<uri|image> [<arguments>...]',
    run: (call) =>
      single(call, {
        acquire,
        before: (image) => {
          image.cmdline = undefined;
        },
      }),
  },
  imgextract: {
    options: [NAME, KEEP, TIMEOUT, QUIET],
    min: 1,
    max: 1,
    run: async ({ state, args, flags }) => {
      const image = await acquire(state, args[0] ?? '', flags.has('quiet'));
      if ('failure' in image) return image.failure;
      if (!flags.has('keep')) state.images.unregister(image);
      return couldNot(state, 'extract image', ENOTSUP);
    },
  },
  // Does nothing at all on a BIOS. What a UEFI shim lets through is Secure Boot's affair, not played here.
  shim: {
    options: [
      TIMEOUT,
      QUIET,
      { long: 'require-loader', short: 'l', kind: 'flag' },
      { long: 'allow-pxe', short: 'p', kind: 'flag' },
      { long: 'allow-sbat', short: 's', kind: 'flag' },
    ],
    min: 0,
    max: 1,
    run: ({ state }) => (state.options.machine.platform === 'efi' ? ENOTSUP : undefined),
  },
  imgstat: multiple((state, image) => state.print(describeImage(state, image))),
  imgfree: multiple((state, image) => state.images.unregister(image)),
};
