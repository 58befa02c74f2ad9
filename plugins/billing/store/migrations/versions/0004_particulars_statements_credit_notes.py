"""Particulars of invoices, usage statements, credit notes, period locks"""

import sqlalchemy as sa
from alembic import op

revision = '0004'
down_revision = '0003'

CodePointText = sa.Text().with_variant(sa.Text(collation='C'), 'postgresql')

TEXTS = {
    'ref_seller': (
        'address_line2', 'region', 'registration_id', 'registration_scheme', 'electronic_address',
        'electronic_address_scheme', 'contact_name', 'phone', 'bic', 'creditor_id', 'legal_information',
        'vat_currency', 'credit_note_prefix',
    ),
    'ref_customers': (
        'registration_id', 'registration_scheme', 'electronic_address', 'electronic_address_scheme',
        'buyer_reference', 'vat_id_check_ref',
    ),
    'ref_subscriptions': ('purchase_order',),
    'ref_token_grants': ('currency',),
    'ref_payment_methods': ('mandate',),
}
NUMBERS = {
    ('ref_seller', 'payment_days'): -1,
    ('ref_customers', 'vat_id_checked_at'): 2**63 - 1,
    ('ref_token_grants', 'amount'): -1,
}


def upgrade() -> None:
    for table, names in TEXTS.items():
        for name in names:
            op.add_column(table, sa.Column(name, CodePointText, nullable=False, server_default=''))
    for (table, name), blank in NUMBERS.items():
        op.add_column(table, sa.Column(name, sa.BigInteger(), nullable=False, server_default=str(blank)))
    op.create_table('ref_exchange_rates',
    sa.Column('row_no', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=True, nullable=False),
    sa.Column('currency', CodePointText, nullable=False),
    sa.Column('valid_from', sa.BigInteger(), nullable=False),
    sa.Column('rate', sa.BigInteger(), nullable=False),
    sa.Column('known_from', sa.BigInteger(), nullable=False),
    sa.Column('known_to', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('row_no', name=op.f('pk_ref_exchange_rates'))
    )
    op.create_index(op.f('ix_ref_exchange_rates_known_to'), 'ref_exchange_rates', ['known_to'], unique=False)
    op.add_column('parked', sa.Column('detail', CodePointText, nullable=False, server_default=''))
    op.create_table('usage_days',
    sa.Column('team_id', CodePointText, nullable=False),
    sa.Column('cycle_start_us', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('api', CodePointText, nullable=False),
    sa.Column('first_day', sa.BigInteger(), nullable=False),
    sa.Column('quantities', CodePointText, nullable=False),
    sa.Column('late_micro', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('team_id', 'cycle_start_us', 'api', name=op.f('pk_usage_days'))
    )
    op.create_table('period_locks',
    sa.Column('lock_no', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('through_day', sa.BigInteger(), nullable=False),
    sa.Column('at_us', sa.BigInteger(), nullable=False),
    sa.Column('reason', CodePointText, nullable=False),
    sa.PrimaryKeyConstraint('lock_no', name=op.f('pk_period_locks'))
    )
    rebuild_invoices()
    op.create_table('credit_notes',
    sa.Column('number', CodePointText, nullable=False),
    sa.Column('prefix', CodePointText, nullable=False),
    sa.Column('year', sa.BigInteger(), nullable=False),
    sa.Column('sequence', sa.BigInteger(), nullable=False),
    sa.Column('invoice_number', CodePointText, nullable=False),
    sa.Column('reason', CodePointText, nullable=False),
    sa.Column('net_minor', sa.BigInteger(), nullable=False),
    sa.Column('tax_minor', sa.BigInteger(), nullable=False),
    sa.Column('total_minor', sa.BigInteger(), nullable=False),
    sa.Column('issued_at_us', sa.BigInteger(), nullable=False),
    sa.Column('issue_day', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['invoice_number'], ['invoices.number'], name=op.f('fk_credit_notes_invoice_number')),
    sa.PrimaryKeyConstraint('number', name=op.f('pk_credit_notes')),
    sa.UniqueConstraint('prefix', 'year', 'sequence', name=op.f('uq_credit_notes_prefix_year_sequence'))
    )
    op.create_index(op.f('ix_credit_notes_invoice_number'), 'credit_notes', ['invoice_number'], unique=False)
    op.create_table('credit_note_lines',
    sa.Column('number', CodePointText, nullable=False),
    sa.Column('line_no', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('invoice_line_no', sa.BigInteger(), nullable=False),
    sa.Column('charged_units', sa.BigInteger(), nullable=False),
    sa.Column('unit_price_micro', sa.BigInteger(), nullable=False),
    sa.Column('net_minor', sa.BigInteger(), nullable=False),
    sa.Column('by_amount', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['number'], ['credit_notes.number'], name=op.f('fk_credit_note_lines_number')),
    sa.PrimaryKeyConstraint('number', 'line_no', name=op.f('pk_credit_note_lines'))
    )


def rebuild_invoices() -> None:
    """A corrected invoice has the cycle and subscription of the one before; documents are not of invoices only.

    SQLite makes a table anew to drop a constraint, which nothing may refer to meanwhile: so the lines let go of their
    invoices first.
    """
    with op.batch_alter_table('documents') as documents:
        documents.drop_constraint('fk_documents_number', type_='foreignkey')
    with op.batch_alter_table('invoice_lines') as lines:
        lines.drop_constraint('fk_invoice_lines_number', type_='foreignkey')
    with op.batch_alter_table('invoices') as invoices:
        invoices.add_column(sa.Column('revision', sa.BigInteger(), nullable=False, server_default='1'))
        invoices.add_column(sa.Column('replaces', CodePointText, nullable=False, server_default=''))
        invoices.drop_constraint('uq_invoices_team_id_cycle_start_us_subscription_id', type_='unique')
        invoices.create_unique_constraint(
            op.f('uq_invoices_team_id_cycle_start_us_subscription_id_revision'),
            ['team_id', 'cycle_start_us', 'subscription_id', 'revision'],
        )
    with op.batch_alter_table('invoice_lines') as lines:
        lines.create_foreign_key(op.f('fk_invoice_lines_number'), 'invoices', ['number'], ['number'])
