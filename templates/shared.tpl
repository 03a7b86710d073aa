% rebase('layout.tpl')
<div class="head">
  <div>
    <h1><bdi>{{page.title}}</bdi></h1>
% if page.note:
    <p class="note">{{page.note}}</p>
% end
  </div>
</div>
% if page.refresh_s:
%   include('_refresh.tpl')
% end
% rows = page.rows.html
% if page.rows:
%   if len(page.columns) > 4:
<p class="all-fields"><input type="checkbox" id="all-fields"> <label for="all-fields">{{t("table.all_fields")}}</label></p>
%   end
<div class="scroll" role="region" aria-labelledby="table-caption" tabindex="0">
<table class="data cards">
  <caption id="table-caption" class="visually-hidden">{{page.title}}</caption>
  <thead><tr>
{{!page.heads}}
  </tr></thead>
  <tbody>
{{!rows}}
  </tbody>
  {{!page.totals}}
</table>
</div>
%   if page.no_totals:
<p class="no-totals">{{!page.no_totals}}</p>
%   end
% else:
<div class="empty"><p>{{page.empty}}</p></div>
% end
% include('_under.tpl')
% if page.refresh_s:
</div>
% end
