/**
 * Words of a kernel command line that hand the machine to whoever sits at it, run code that nobody signed, or skip what
 * verifies. A manifest fixes one only where it says `shell yes`, or where this table allows that very word.
 *
 * Each line is a layout (`*`: every one), `forbid` or `allow`, and patterns in which `*` is any text. What is forbidden
 * is so bare and with any value, and is no name of a free word either; what is allowed is allowed as it stands, and
 * never with `..` in it, which would lead out of a folder. A layout that no line names (`plain` among them) may be any
 * system: all that is forbidden anywhere is forbidden there, and it is allowed only what every layout is.
 *
 * LTSP sets a variable of its shell by each word of `ltsp.`, in letters of any case and with any sign for the dot: some
 * are code (`ltsp.post_initrd_bottom_x=ls` runs ls), so all are forbidden but for those that are known.
 *
 * `early-userspace/verify-manifest` holds the same lines, and a test holds the two together.
 */
export const SHELL_WORDS = `
* forbid break disablehooks init rdinit emergency single rescue S s 1 -b -s
* forbid systemd.debug-shell systemd.debug_shell systemd.crash-shell systemd.crash_shell
* forbid systemd.run systemd.unit systemd.wants
* forbid rd.systemd.debug-shell rd.systemd.debug_shell rd.systemd.crash-shell rd.systemd.crash_shell
* forbid rd.systemd.run rd.systemd.unit rd.systemd.wants
* forbid rd.break rd.cmdline rd.shell rd.emergency rd.rescue rdbreak rdshell kgdboc kgdbwait
* forbid systemd.set_credential systemd.set_credential_binary systemd.setenv rd.systemd.setenv
* allow rdinit=/bootseal/init systemd.unit=multi-user.target systemd.unit=graphical.target
* allow rd.shell=0 rd.shell=no rd.emergency=halt rd.emergency=poweroff rd.emergency=reboot
* allow systemd.debug-shell=0 systemd.debug_shell=0 systemd.crash-shell=0 systemd.crash_shell=0
alpine forbid modloop_verify
alpine allow modloop_verify=yes
anaconda forbid inst.rescue inst.sshd sshd inst.updates updates live.updates
anaconda forbid inst.noverifyssl noverifyssl rd.noverifyssl inst.vnc vnc inst.rdp
archiso forbid script
coreos forbid coreos.inst.insecure
debian-installer forbid *rescue/enable *allow_unauthenticated* *network-console* *early_command *late_command BOOT_DEBUG MENU
debian-installer allow *rescue/enable=false *allow_unauthenticated=false BOOT_DEBUG=0 BOOT_DEBUG=1
dracut-live forbid live.updates rd.noverifyssl
live-boot forbid hooks live-config.hooks
live-boot allow hooks=filesystem hooks=medium live-config.hooks=filesystem live-config.hooks=medium
ltsp forbid ltsp* ltsP* ltSp* ltSP* lTsp* lTsP* lTSp* lTSP*
ltsp forbid Ltsp* LtsP* LtSp* LtSP* LTsp* LTsP* LTSp* LTSP*
ltsp allow ltsp.image=* ltsp.image_to_ram=* ltsp.overlay=* ltsp.read_ahead_kb=* ltsp.ltsp_debug=*
nixos forbid boot.shell_on_fail boot.debug1*
nixos allow init=/nix/store/*/init
systemd forbid rd.systemd.pull=*verify=no* rd.systemd.pull=*verify=checksum*
`;

type Act = 'forbid' | 'allow';

interface Entry {
  readonly layout: string;
  readonly act: Act;
  readonly pattern: string;
}

const TABLE: readonly Entry[] = SHELL_WORDS.trim()
  .split('\n')
  .flatMap((line) => {
    const [layout = '', act = '', ...patterns] = line.split(' ');
    return patterns.map((pattern) => ({ layout, act: act as Act, pattern }));
  });
const NAMED: ReadonlySet<string> = new Set(TABLE.map(({ layout }) => layout));

/** Whether a layout may fix this word only with `shell yes`. */
export function isShellWord(word: string, layout: string): boolean {
  const bare = patterns('forbid', layout).some((pattern) =>
    [pattern, `${pattern}=*`].some((one) => matches(one, word)),
  );
  if (!bare) return false;
  return word.includes('..') || !patterns('allow', layout).some((pattern) => matches(pattern, word));
}

/** Whether no free word of this layout may have this name: some value of it is a shell word. */
export function isShellName(name: string, layout: string): boolean {
  return patterns('forbid', layout).some((pattern) => matches(pattern.replace(/=.*/, ''), name));
}

function patterns(act: Act, layout: string): string[] {
  const all = act === 'forbid' && !NAMED.has(layout);
  return TABLE.filter(
    (entry) => entry.act === act && (all || entry.layout === '*' || entry.layout === layout),
  ).map(({ pattern }) => pattern);
}

function matches(pattern: string, text: string): boolean {
  const [first = '', ...parts] = pattern.split('*');
  if (parts.length === 0) return text === pattern;
  if (!text.startsWith(first)) return false;
  const last = parts.pop() ?? '';
  let at = first.length;
  for (const part of parts) {
    const found = text.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return text.length - last.length >= at && text.endsWith(last);
}
