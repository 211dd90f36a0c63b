# SPDX-License-Identifier: GPL-3.0-or-later
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

application = get_wsgi_application()

from tours import recommend  # noqa: E402  (needs the settings)

recommend.start()
