"""Payments, mailings, copies of documents elsewhere"""

import sqlalchemy as sa
from alembic import op

revision = '0006'
down_revision = '0005'

CodePointText = sa.Text().with_variant(sa.Text(collation='C'), 'postgresql')


def upgrade() -> None:
    op.create_table('charges',
    sa.Column('charge_key', CodePointText, nullable=False),
    sa.Column('customer_id', CodePointText, nullable=False),
    sa.Column('gateway', CodePointText, nullable=False),
    sa.Column('payment_method_id', CodePointText, nullable=False),
    sa.Column('currency', CodePointText, nullable=False),
    sa.Column('amount_minor', sa.BigInteger(), nullable=False),
    sa.Column('state', CodePointText, nullable=False),
    sa.Column('reference', CodePointText, server_default='', nullable=False),
    sa.Column('customer_reference', CodePointText, server_default='', nullable=False),
    sa.Column('attempt_reference', CodePointText, server_default='', nullable=False),
    sa.Column('attempts', sa.BigInteger(), server_default='0', nullable=False),
    sa.Column('opened_at_us', sa.BigInteger(), nullable=False),
    sa.Column('attempted_at_us', sa.BigInteger(), nullable=True),
    sa.Column('next_attempt_us', sa.BigInteger(), nullable=True),
    sa.Column('problem', CodePointText, server_default='', nullable=False),
    sa.Column('detail', CodePointText, server_default='', nullable=False),
    sa.Column('method_load', sa.BigInteger(), server_default='0', nullable=False),
    sa.PrimaryKeyConstraint('charge_key', name=op.f('pk_charges'))
    )
    op.create_index(op.f('ix_charges_state'), 'charges', ['state'], unique=False)
    op.create_table('charge_invoices',
    sa.Column('number', CodePointText, nullable=False),
    sa.Column('charge_key', CodePointText, nullable=False),
    sa.Column('amount_minor', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['charge_key'], ['charges.charge_key'], name=op.f('fk_charge_invoices_charge_key')),
    sa.ForeignKeyConstraint(['number'], ['invoices.number'], name=op.f('fk_charge_invoices_number')),
    sa.PrimaryKeyConstraint('number', name=op.f('pk_charge_invoices'))
    )
    op.create_index(op.f('ix_charge_invoices_charge_key'), 'charge_invoices', ['charge_key'], unique=False)
    op.create_table('payment_events',
    sa.Column('event_no', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=True, nullable=False),
    sa.Column('number', CodePointText, nullable=False),
    sa.Column('kind', CodePointText, nullable=False),
    sa.Column('amount_minor', sa.BigInteger(), nullable=False),
    sa.Column('gateway', CodePointText, nullable=False),
    sa.Column('reference', CodePointText, nullable=False),
    sa.Column('at_us', sa.BigInteger(), nullable=False),
    sa.Column('recorded_at_us', sa.BigInteger(), nullable=False),
    sa.Column('detail', CodePointText, server_default='', nullable=False),
    sa.ForeignKeyConstraint(['number'], ['invoices.number'], name=op.f('fk_payment_events_number')),
    sa.PrimaryKeyConstraint('event_no', name=op.f('pk_payment_events')),
    sa.UniqueConstraint('number', 'kind', 'gateway', 'reference', name=op.f('uq_payment_events_number_kind_gateway_reference'))
    )
    op.create_index(op.f('ix_payment_events_number'), 'payment_events', ['number'], unique=False)
    op.create_table('mailings',
    sa.Column('mail_key', CodePointText, nullable=False),
    sa.Column('kind', CodePointText, nullable=False),
    sa.Column('subject_id', CodePointText, nullable=False),
    sa.Column('customer_id', CodePointText, nullable=False),
    sa.Column('payload', CodePointText, nullable=False),
    sa.Column('due_us', sa.BigInteger(), nullable=False),
    sa.Column('state', CodePointText, nullable=False),
    sa.Column('attempts', sa.BigInteger(), server_default='0', nullable=False),
    sa.Column('recipient', CodePointText, server_default='', nullable=False),
    sa.Column('message_id', CodePointText, server_default='', nullable=False),
    sa.Column('claimed_at_us', sa.BigInteger(), nullable=True),
    sa.Column('ended_at_us', sa.BigInteger(), nullable=True),
    sa.Column('proof', CodePointText, server_default='', nullable=False),
    sa.PrimaryKeyConstraint('mail_key', name=op.f('pk_mailings'))
    )
    op.create_index(op.f('ix_mailings_kind'), 'mailings', ['kind'], unique=False)
    op.create_index(op.f('ix_mailings_state'), 'mailings', ['state'], unique=False)
    op.create_index(op.f('ix_mailings_subject_id'), 'mailings', ['subject_id'], unique=False)
    op.create_table('placed_files',
    sa.Column('destination', CodePointText, nullable=False),
    sa.Column('path', CodePointText, nullable=False),
    sa.Column('number', CodePointText, nullable=False),
    sa.Column('kind', CodePointText, nullable=False),
    sa.Column('sha256', CodePointText, nullable=False),
    sa.Column('bytes', sa.BigInteger(), nullable=False),
    sa.Column('at_us', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('destination', 'path', name=op.f('pk_placed_files'))
    )
    op.create_index(op.f('ix_placed_files_number'), 'placed_files', ['number'], unique=False)
