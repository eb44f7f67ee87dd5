"""ibv_reg_mr(3) of a file on fsdax is refused; of a pinned file of pinfs on devdax it works, and a truncate waits for its end.
refusal.py FSDAX MOUNTPOINT
"""
import ctypes
import errno
import json
import mmap
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.environ['MT_ROOT'], 'tests/mount/lib'))
import pinfs  # noqa: E402

LENGTH = 1 << 20
LOCAL_WRITE, REMOTE_WRITE, REMOTE_READ = 1, 2, 4
verbs = ctypes.CDLL('libibverbs.so.1', use_errno=True)
verbs.ibv_get_device_list.restype = ctypes.POINTER(ctypes.c_void_p)
for name, arguments in (('open_device', 1), ('alloc_pd', 1), ('reg_mr', 2)):
    getattr(verbs, 'ibv_' + name).restype = ctypes.c_void_p
verbs.ibv_open_device.argtypes = verbs.ibv_alloc_pd.argtypes = verbs.ibv_dereg_mr.argtypes = [ctypes.c_void_p]
verbs.ibv_reg_mr.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def register(domain, address):
    """The registration, or an errno."""
    region = verbs.ibv_reg_mr(domain, address, LENGTH, LOCAL_WRITE | REMOTE_WRITE | REMOTE_READ)
    return region, 0 if region else ctypes.get_errno()


def main():
    device = verbs.ibv_open_device(verbs.ibv_get_device_list(None)[0])
    domain = verbs.ibv_alloc_pd(device)
    assert device and domain, 'no RDMA device'

    with open(sys.argv[1] + '/file', 'w+b') as file:
        file.write(b'x' * LENGTH)
        file.flush()
        os.fsync(file.fileno())
        memory = mmap.mmap(file.fileno(), LENGTH)
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        region, error = register(domain, address)
        print('ext4 with DAX:', os.strerror(error) if error else 'registered')
        assert error == errno.EOPNOTSUPP, error

    path = sys.argv[2] + '/file'
    with open(path, 'wb') as file:
        file.write(b'a' * LENGTH)
    session = pinfs.Session(sys.argv[2])
    pin = session.pin(path, 0, LENGTH, pinfs.WRITE)
    region, error = register(domain, session.address(pin) or session.extents(pin)[0][0])
    assert region, f'a pinned file on devdax: {os.strerror(error)}'
    print('pinfs on devdax: registered')
    truncate = subprocess.Popen(['truncate', '-s', '0', path])
    event = session.event()
    assert event is not None and event[0] == pinfs.RECALL, event
    waiting = json.loads(os.getxattr(sys.argv[2], 'pinfs.stat'))['pins']['waiting_breaks']
    assert waiting == 1, waiting
    assert truncate.poll() is None and os.stat(path).st_size == LENGTH, 'the truncate has not waited'
    assert verbs.ibv_dereg_mr(region) == 0
    assert truncate.poll() is None
    session.unpin(pin)
    assert truncate.wait(30) == 0 and os.stat(path).st_size == 0
    print('truncate: waited for the registration and the pin')
    session.disconnect()


main()
