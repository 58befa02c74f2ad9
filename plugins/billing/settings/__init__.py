"""Where things are: the only reader of the environment.

=========================  ======================================================================
BILLING_HOME               the home folder (default: ``./billing-home``)
BILLING_DATABASE_URL       where the billing database is, if not in the home (``postgresql://...``)
BILLING_TEMPLATES          the folder of the invoice's template, style, texts, fonts and themes
BILLING_THEME              which of the themes there (default: ``default``)
BILLING_DROP_FOLDER        where usage files arrive, if ``billing.toml`` names no sources
BILLING_REFERENCE_FOLDER   where reference files are kept (DAG ``reference_sync``)
BILLING_SQL                the folder of the SQL that people may change
BILLING_AUDIT_TEMPLATES    the folder of the template of a rerun's report
BILLING_MEMORY_MB          what a task's engine may hold while it sums usage, in MB (default: 512)
BILLING_PAGES_AT           the instant as of which pages tell "in 12 days", for usage of the past (default: now)
=========================  ======================================================================

A file ``billing.toml`` in the home may give ``database_url``, ``templates``, ``theme`` and ``memory_mb``; the
environment goes before it. All else there is in tables. Each has a module under its name, which starts with the table
as a person writes it, and has the class of what it gives and ``read_...`` from a ``Table``:

``sources``         where usage comes from, a table a source
``reference``       where reference data comes from, if not from files
``lake``            where the usage table is, if not in the home
``audit``           where heads of the log are kept
``payments``        how money is collected, and by which gateways
``approval``        when a person is asked before invoices are issued
``mail``            what is mailed, from whom, and by which connection
``files``           where copies of documents go, under which names
``notify``          notifiers of Airflow, and what they are told of
``exports``         where exports are placed
``accounts``        the accounts of the journal
``focus``           what a FOCUS export calls the services
``alerts``          when admins of a team are told of what
``access``          who operates
``expectations``    numbers for what is expected of usage and reference data

``settings``        ``Settings``: all of it as one value, from arguments, environment and file. Start here.
``table``           a table of the file: its values by what they must be, and how what is wrong is said
``airflow_import``  how Airflow is imported where it did not start the process

Paths in the file are relative to the home.
"""
