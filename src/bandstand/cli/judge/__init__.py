"""``bandstand judge``: measuring, calibrating and training the judge."""
