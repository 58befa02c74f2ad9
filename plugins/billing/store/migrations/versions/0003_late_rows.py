"""Reference rows that came too late for closed cycles, and what they would have changed"""

import sqlalchemy as sa
from alembic import op

revision = '0003'
down_revision = '0002'

CodePointText = sa.Text().with_variant(sa.Text(collation='C'), 'postgresql')


def upgrade() -> None:
    op.create_table('late_rows',
    sa.Column('load_no', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('late_no', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('reference_table', CodePointText, nullable=False),
    sa.Column('row_key', CodePointText, nullable=False),
    sa.Column('team_id', CodePointText, nullable=False),
    sa.Column('cycle_start_us', sa.BigInteger(), nullable=False),
    sa.Column('changed', CodePointText, nullable=False),
    sa.Column('touched', CodePointText, nullable=False),
    sa.Column('invoices', CodePointText, nullable=False),
    sa.Column('figures', CodePointText, nullable=False),
    sa.PrimaryKeyConstraint('load_no', 'late_no', name=op.f('pk_late_rows'))
    )
