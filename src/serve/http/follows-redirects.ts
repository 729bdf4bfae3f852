/**
 * Clients that follow a redirect of a file, and verify what comes of it: by what they call themselves.
 *
 * - iPXE (`iPXE/1.21.1`) follows them while it fetches an image, up to a limit of its own; with `imgverify` the image is
 *   judged by its seal, wherever it came from.
 * - `bootseal-early` is our early userspace, be it curl or busybox' wget that fetches for it, and curl (`curl/7.88.1`) is
 *   what archiso's fetches the root image with, by `--location`.
 *
 * GRUB (`GRUB 2.06`) takes a redirect for an error, and UEFI firmware (`UefiHttpBoot/1.0`) does as its vendor likes. Whoever
 * is not known here is sent the bytes.
 */
/** `curl`: either of the last two. */
export type FollowingClient = 'ipxe' | 'curl';

const CLIENTS: readonly (readonly [FollowingClient, RegExp])[] = [
  ['ipxe', /^iPXE\/\d/],
  ['curl', /^(bootseal-early$|curl\/\d)/],
];

/** @param userAgent as the client sent it. */
export function followsRedirects(userAgent: string | undefined): FollowingClient | undefined {
  return CLIENTS.find(([, name]) => userAgent !== undefined && name.test(userAgent))?.[0];
}
