/* Media errors that the kernel knows before anybody meets them. */
#ifndef PINFS_DAEMON_MEDIA_H
#define PINFS_DAEMON_MEDIA_H

#include "fs/fs.h"

/* Those of the data parts go to fs_report_lost(): never allocated, and EIO rather than SIGBUS. Best effort, with words.
 */
void daemon_report_media(struct fs *fs);

#endif
