"""What tests of POSIX ACLs share: ACLs as text, and doing something as another user."""
import contextlib
import os
import struct

ACCESS, DEFAULT = 'system.posix_acl_access', 'system.posix_acl_default'
TAGS = {'u': 1, 'U': 2, 'g': 4, 'G': 8, 'm': 16, 'o': 32}
LETTERS = {tag: letter for letter, tag in TAGS.items()}
NO_ID = 0xffffffff


def pack(text):
    """'u7 U1000:6 g5 m7 o0' (capitals: named users and groups) as an xattr's value."""
    value = struct.pack('<I', 2)
    for word in text.split():
        number, _, perm = word[1:].rpartition(':')
        value += struct.pack('<HHI', TAGS[word[0]], int(perm, 8), int(number) if number else NO_ID)
    return value


def unpack(value):
    words = []
    assert struct.unpack_from('<I', value) == (2,), value
    for tag, perm, number in struct.iter_unpack('<HHI', value[4:]):
        words.append(LETTERS[tag] + (f'{number}:' if tag in (2, 8) else '') + f'{perm:o}')
    return ' '.join(words)


def get(path, name):
    try:
        return unpack(os.getxattr(path, name, follow_symlinks=False))
    except OSError as e:
        return os.strerror(e.errno)


@contextlib.contextmanager
def user(uid, gid, groups=()):
    """Effective ids only: the capabilities go with them."""
    os.setgroups(groups)
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups([])
